package core

import (
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
)

// Secret is v1 Secret: like a ConfigMap, for what only some may read.
var Secret = kinds.Def[core.Secret, *core.Secret]{
	Path: "v1/secrets",
	Default: func(s *core.Secret) {
		orElse(&s.Type, core.SecretTypeOpaque)
		mergeStringData(s)
		noNulls(s.Data)
	},
	ValidateCreate: validateSecret, ValidateUpdate: validateSecretUpdate, Warn: warnSecret,
	Fields:  func(s *core.Secret) map[string]string { return map[string]string{"type": string(s.Type)} },
	Columns: kinds.Described(kinds.Columns("Name", "Type", "Data", "Age"), core.Secret{}.SwaggerDoc()["type"], core.Secret{}.SwaggerDoc()["data"]),
	Row: func(s *core.Secret, now time.Time) []any {
		return []any{s.Name, string(s.Type), int64(len(s.Data)), kinds.Age(s.CreationTimestamp, now)}
	},
}

// mergeStringData moves the write-only stringData into data, over what stands there.
func mergeStringData(s *core.Secret) {
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

// noNulls makes a null what it is once stored: no bytes.
func noNulls(data map[string][]byte) {
	for k, v := range data {
		if v == nil {
			data[k] = []byte{}
		}
	}
}
