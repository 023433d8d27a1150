package csi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	authentication "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokensKey is the entry that holds a pod's tokens for a driver.
const tokensKey = "csi.storage.k8s.io/serviceAccount.tokens"

// podContext adds what the driver's CSIDriver asks to know of the pod: who it is (podInfoOnMount) and its tokens (tokenRequests).
func (o *operation) podContext(ctx context.Context, req *csi.NodePublishVolumeRequest) error {
	if o.about == nil {
		return nil
	}
	if o.about.Spec.PodInfoOnMount != nil && *o.about.Spec.PodInfoOnMount {
		p := o.v.Pod
		for k, v := range map[string]string{
			"csi.storage.k8s.io/pod.name":            p.Name,
			"csi.storage.k8s.io/pod.namespace":       p.Namespace,
			"csi.storage.k8s.io/pod.uid":             string(p.UID),
			"csi.storage.k8s.io/serviceAccount.name": p.Spec.ServiceAccountName,
			"csi.storage.k8s.io/ephemeral":           strconv.FormatBool(o.v.Source != nil),
		} {
			put(&req.VolumeContext, k, v)
		}
	}
	if len(o.about.Spec.TokenRequests) == 0 {
		return nil
	}
	tokens := map[string]authentication.TokenRequestStatus{}
	for _, r := range o.about.Spec.TokenRequests {
		seconds := int64(3600)
		if r.ExpirationSeconds != nil {
			seconds = *r.ExpirationSeconds
		}
		token, err := o.Sources.Token(ctx, o.v.Pod, r.Audience, seconds)
		if err != nil {
			return fmt.Errorf("kubernetes.io/csi: mounter.SetUpAt failed to get service accoount token attributes: %w", err)
		}
		tokens[r.Audience] = authentication.TokenRequestStatus{Token: token, ExpirationTimestamp: expiry(token, time.Now().Add(time.Duration(seconds)*time.Second))}
	}
	text, err := json.Marshal(tokens)
	if err != nil {
		return err
	}
	if in := o.about.Spec.ServiceAccountTokenInSecrets; in != nil && *in {
		put(&req.Secrets, tokensKey, string(text))
	} else {
		put(&req.VolumeContext, tokensKey, string(text))
	}
	return nil
}

func put(m *map[string]string, k, v string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[k] = v
}

// expiry reads the exp of a JWT; def where there is none.
func expiry(token string, def time.Time) metav1.Time {
	parts := strings.Split(token, ".")
	var claims struct{ Exp int64 }
	if len(parts) == 3 {
		body, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil && json.Unmarshal(body, &claims) == nil && claims.Exp > 0 {
			return metav1.Unix(claims.Exp, 0)
		}
	}
	return metav1.NewTime(def)
}
