package core

import (
	"crypto/tls"
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	core "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// maxData is how many bytes all values of a ConfigMap or Secret may have together.
const maxData = 1 << 20

const whenImmutable = "field is immutable when `immutable` is set"

func validateConfigMap(c *core.ConfigMap) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		size := 0
		for _, k := range slices.Sorted(maps.Keys(c.Data)) {
			p := field.NewPath("data").Key(k)
			e.Invalids(p, k, utilvalidation.IsConfigMapKey(k))
			if _, both := c.BinaryData[k]; both {
				e.Invalid(p, k, "duplicate of key present in binaryData")
			}
			size += len(c.Data[k])
		}
		for _, k := range slices.Sorted(maps.Keys(c.BinaryData)) {
			e.Invalids(field.NewPath("binaryData").Key(k), k, utilvalidation.IsConfigMapKey(k))
			size += len(c.BinaryData[k])
		}
		if size > maxData {
			e.Add(field.TooLong(field.NewPath(""), "", maxData))
		}
	})
}

func validateConfigMapUpdate(c, old *core.ConfigMap) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if old.Immutable == nil || !*old.Immutable {
			return
		}
		if c.Immutable == nil || !*c.Immutable {
			e.Forbidden(field.NewPath("immutable"), whenImmutable)
		}
		if !maps.Equal(c.Data, old.Data) {
			e.Forbidden(field.NewPath("data"), whenImmutable)
		}
		if !reflect.DeepEqual(c.BinaryData, old.BinaryData) {
			e.Forbidden(field.NewPath("binaryData"), whenImmutable)
		}
	})
}

func validateSecret(s *core.Secret) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p, size := field.NewPath("data"), 0
		for _, k := range slices.Sorted(maps.Keys(s.Data)) {
			e.Invalids(p.Key(k), k, utilvalidation.IsConfigMapKey(k))
			size += len(s.Data[k])
		}
		if size > maxData {
			e.Add(field.TooLong(p, "", maxData))
		}
		secretType(e, p, s)
	})
}

// secretType checks that the keys are there which the type promises.
func secretType(e *check.Errors, p *field.Path, s *core.Secret) {
	has := func(key string) bool { _, ok := s.Data[key]; return ok }
	wantJSON := func(key string) {
		if !has(key) {
			e.Required(p.Key(key), "")
		} else if err := json.Unmarshal(s.Data[key], &map[string]any{}); err != nil {
			e.Invalid(p.Key(key), "<secret contents redacted>", err.Error())
		}
	}
	want := func(key string) {
		if !has(key) {
			e.Required(p.Key(key), "")
		}
	}
	switch s.Type {
	case core.SecretTypeServiceAccountToken:
		if s.Annotations[core.ServiceAccountNameKey] == "" {
			e.Required(metaPath.Child("annotations").Key(core.ServiceAccountNameKey), "")
		}
	case core.SecretTypeDockercfg:
		wantJSON(core.DockerConfigKey)
	case core.SecretTypeDockerConfigJson:
		wantJSON(core.DockerConfigJsonKey)
	case core.SecretTypeBasicAuth:
		if !has(core.BasicAuthUsernameKey) && !has(core.BasicAuthPasswordKey) {
			want(core.BasicAuthUsernameKey)
			want(core.BasicAuthPasswordKey)
		}
	case core.SecretTypeSSHAuth:
		if len(s.Data[core.SSHAuthPrivateKey]) == 0 {
			e.Required(p.Key(core.SSHAuthPrivateKey), "")
		}
	case core.SecretTypeTLS:
		want(core.TLSCertKey)
		want(core.TLSPrivateKeyKey)
	}
}

func validateSecretUpdate(s, old *core.Secret) field.ErrorList {
	return append(check.Run(func(e *check.Errors) {
		e.Immutable(field.NewPath("type"), s.Type, old.Type)
		if old.Immutable == nil || !*old.Immutable {
			return
		}
		if s.Immutable == nil || !*s.Immutable {
			e.Forbidden(field.NewPath("immutable"), whenImmutable)
		}
		if !reflect.DeepEqual(s.Data, old.Data) {
			e.Forbidden(field.NewPath("data"), whenImmutable)
		}
	}), validateSecret(s)...)
}

// warnSecret tells whoever writes a certificate and a key that do not belong together.
func warnSecret(s, _ *core.Secret) []string {
	if s.Type != core.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[core.TLSCertKey], s.Data[core.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}
