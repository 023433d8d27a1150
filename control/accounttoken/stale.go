package accounttoken

import (
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Labels of secrets with tokens: when the API server saw the token last, and since when it refuses it. Days, as 2006-01-02.
const (
	lastUsedLabel     = "kubernetes.io/legacy-token-last-used"
	invalidSinceLabel = "kubernetes.io/legacy-token-invalid-since"
)

// Where the API server says since when it notes the use of tokens.
const (
	trackingName = "kube-apiserver-legacy-service-account-token-tracking"
	trackingKey  = "since"
)

const (
	unused = 365 * 24 * time.Hour // so long a token must not have been used to be refused, and so long be refused to go
	daily  = control.Again(24 * time.Hour)
)

// stale refuses and then deletes the token of an account that nobody made by hand, nobody has used for a year, and no pod mounts. It looks
// again in a day at those it may concern one day.
func (c *Controller) stale(s *core.Secret, a *core.ServiceAccount) ([]control.Change, control.Again) {
	if !slices.ContainsFunc(a.Secrets, func(r core.ObjectReference) bool { return r.Name == s.Name }) {
		return nil, control.Done // made by hand
	}
	now := c.config.Now().UTC()
	edge := now.Add(-unused)
	day := edge.Format(time.DateOnly)
	if !c.trackedSince(edge) || !s.CreationTimestamp.Time.Before(edge) || c.mounted(s) {
		return nil, daily
	}
	if last, ok := s.Labels[lastUsedLabel]; ok {
		if _, err := time.Parse(time.DateOnly, last); err != nil || last >= day {
			return nil, daily
		}
	}
	since := s.Labels[invalidSinceLabel]
	if _, err := time.Parse(time.DateOnly, since); err != nil {
		n := object.Clone(s)
		metav1.SetMetaDataLabel(&n.ObjectMeta, invalidSinceLabel, now.Format(time.DateOnly))
		return []control.Change{{Op: control.Update, Object: n}}, daily
	}
	if since >= day {
		return nil, daily
	}
	return []control.Change{{Op: control.Delete, Object: s, SameVersion: true}}, control.Done
}

// trackedSince says whether the use of tokens has been noted since t.
func (c *Controller) trackedSince(t time.Time) bool {
	m, ok := client.Lookup[core.ConfigMap](c.deps.View, object.Key{Namespace: metav1.NamespaceSystem, Name: trackingName})
	if !ok {
		return false
	}
	since, err := time.Parse(time.DateOnly, m.Data[trackingKey])
	// It may have begun at any time of that day.
	return err == nil && !since.AddDate(0, 0, 1).After(t)
}

// mounted says whether a pod uses the secret.
func (c *Controller) mounted(s *core.Secret) bool {
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Namespace: s.Namespace}) {
		for _, v := range p.Spec.Volumes {
			if v.Secret != nil && v.Secret.SecretName == s.Name {
				return true
			}
		}
		for _, list := range [][]core.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for _, c := range list {
				for _, e := range c.Env {
					if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == s.Name {
						return true
					}
				}
				for _, e := range c.EnvFrom {
					if e.SecretRef != nil && e.SecretRef.Name == s.Name {
						return true
					}
				}
			}
		}
	}
	return false
}
