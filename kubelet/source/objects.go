package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	authentication "k8s.io/api/authentication/v1"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// Objects finds what pods refer to. It implements volume.Sources.
type Objects struct {
	View   client.View
	Client client.Client

	followed *followed // nil: everything that pods need is in the View, or read from the API each time
	volumes  volumes
}

// Config says how Objects finds what the View does not carry.
type Config struct {
	Follower Follower // nil: it is read from the API each time
	Node     string
	// ReadFiles has ConfigMaps and Secrets read each time all the same.
	ReadFiles bool
}

// NewObjects makes Objects that follow what the pods of a node need; see Pods.Objects.
func NewObjects(view client.View, api client.Client, c Config) *Objects {
	o := &Objects{View: view, Client: api}
	if c.Follower != nil {
		o.followed = newFollowed(c.Follower, c.Node, c.ReadFiles)
	}
	return o
}

// find looks in the View and at what is followed, and asks the API where neither has the thing.
func find[T any, P object.Ptr[T]](o *Objects, t thing) (P, error) {
	key := object.Key{Namespace: t.namespace, Name: t.name}
	if found, ok := client.Lookup[T, P](o.View, key); ok {
		return found, nil
	}
	r := object.ResourceOf[T, P]()
	missing := func() error { return apierrors.NewNotFound(r.GroupResource(), t.name) }
	if o.carries(r) {
		return nil, missing()
	}
	if o.followed != nil && t.kind != "" {
		if all, ok := o.followed.get(t); ok {
			if len(all) == 0 {
				return nil, missing()
			}
			return all[0].(P), nil
		}
	}
	return client.Get[T, P](context.Background(), o.Client, key)
}

func (o *Objects) carries(r client.Resource) bool {
	return slices.ContainsFunc(o.View.Resources(), func(c object.Resource) bool { return c.GroupVersionResource == r })
}

// FollowsClaims says whether Pods.Objects tells of the changes of claims.
func (o *Objects) FollowsClaims() bool {
	return o.carries(object.ResourceOf[core.PersistentVolumeClaim]()) || o.followed != nil && o.followed.follows(claim)
}

// FollowsFiles is the same for ConfigMaps and Secrets.
func (o *Objects) FollowsFiles() bool {
	return o.carries(object.ResourceOf[core.ConfigMap]()) && o.carries(object.ResourceOf[core.Secret]()) ||
		o.followed != nil && o.followed.follows(configMap) && o.followed.follows(secret)
}

// ConfigMap finds one ConfigMap.
func (o *Objects) ConfigMap(namespace, name string) (*core.ConfigMap, error) {
	return find[core.ConfigMap](o, thing{configMap, namespace, name})
}

// Secret finds one Secret.
func (o *Objects) Secret(namespace, name string) (*core.Secret, error) {
	return find[core.Secret](o, thing{secret, namespace, name})
}

// Services are those of one namespace.
func (o *Objects) Services(namespace string) []*core.Service {
	return client.ListOf[core.Service](o.View, client.Select{Namespace: namespace})
}

// Claim finds one claim.
func (o *Objects) Claim(namespace, name string) (*core.PersistentVolumeClaim, error) {
	return find[core.PersistentVolumeClaim](o, thing{claim, namespace, name})
}

// Volume finds one persistent volume. A node may not follow them: one that was read is good until a claim changes, which follows what is
// done with its volume.
func (o *Objects) Volume(name string) (*core.PersistentVolume, error) {
	keeps := o.followed != nil && o.followed.follows(claim)
	v, age := o.volumes.get(name)
	if keeps && v != nil {
		return v, nil
	}
	v, err := find[core.PersistentVolume](o, thing{name: name})
	if keeps && err == nil {
		o.volumes.put(v, age)
	}
	return v, err
}

// volumes are those that were read since the last change of a claim.
type volumes struct {
	mu  sync.Mutex // guards all below
	all map[string]*core.PersistentVolume
	age int // counts the changes of claims
}

func (v *volumes) get(name string) (*core.PersistentVolume, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.all[name], v.age
}

// put keeps pv, which was read after the age was seen.
func (v *volumes) put(pv *core.PersistentVolume, age int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.age != age {
		return
	}
	if v.all == nil {
		v.all = map[string]*core.PersistentVolume{}
	}
	v.all[pv.Name] = pv
}

func (v *volumes) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all = nil
	v.age++
}

// Bundles are the ClusterTrustBundles there are. The error is that they are not known yet.
func (o *Objects) Bundles() ([]*certificates.ClusterTrustBundle, error) {
	r := object.ResourceOf[certificates.ClusterTrustBundle]()
	if o.carries(r) {
		return client.ListOf[certificates.ClusterTrustBundle](o.View, client.Select{}), nil
	}
	if o.followed != nil {
		if all, ok := o.followed.get(thing{kind: bundles}); ok {
			out := make([]*certificates.ClusterTrustBundle, len(all))
			for i, b := range all {
				out[i] = b.(*certificates.ClusterTrustBundle)
			}
			return out, nil
		}
	}
	return nil, errors.New("ClusterTrustBundle informer has not yet synced")
}

// PodRequest finds one request for a pod's certificate.
func (o *Objects) PodRequest(namespace, name string) (*certificates.PodCertificateRequest, error) {
	if o.followed != nil && !o.carries(object.ResourceOf[certificates.PodCertificateRequest]()) {
		if all, ok := o.followed.get(thing{kind: podRequests}); ok {
			for _, r := range all {
				if r.GetNamespace() == namespace && r.GetName() == name {
					return r.(*certificates.PodCertificateRequest), nil
				}
			}
		}
	}
	return find[certificates.PodCertificateRequest](o, thing{namespace: namespace, name: name}) // it may not be known here yet
}

// Account finds one service account.
func (o *Objects) Account(namespace, name string) (*core.ServiceAccount, error) {
	return find[core.ServiceAccount](o, thing{namespace: namespace, name: name})
}

// ThisNode finds a node.
func (o *Objects) ThisNode(name string) (*core.Node, error) {
	return find[core.Node](o, thing{name: name})
}

// Driver finds what the cluster knows of a CSI driver.
func (o *Objects) Driver(name string) (*storage.CSIDriver, error) {
	return find[storage.CSIDriver](o, thing{name: name})
}

// Attachment finds one attachment of a volume to a node.
func (o *Objects) Attachment(name string) (*storage.VolumeAttachment, error) {
	return find[storage.VolumeAttachment](o, thing{name: name})
}

// Tell changes the status of a claim. change works on a copy of what it is now, and says whether there is something to write.
func (o *Objects) Tell(ctx context.Context, claim *core.PersistentVolumeClaim, change func(*core.PersistentVolumeClaim) bool) error {
	for {
		n := object.Clone(claim)
		if !change(n) {
			return nil
		}
		_, err := client.UpdateStatus(ctx, o.Client, n)
		if !apierrors.IsConflict(err) || ctx.Err() != nil {
			return err
		}
		if claim, err = client.Get[core.PersistentVolumeClaim](ctx, o.Client, object.KeyOf(claim)); err != nil {
			return err
		}
	}
}

// Token asks the API for a token of the pod's service account that is good only while the pod lives.
func (o *Objects) Token(ctx context.Context, pod *core.Pod, audience string, seconds int64) (string, error) {
	name := pod.Spec.ServiceAccountName
	if name == "" {
		name = "default"
	}
	req := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	t := client.TargetOf[core.ServiceAccount](object.Key{Namespace: pod.Namespace, Name: name})
	t.Sub = "token"
	r, err := o.Client.Create(ctx, t, req, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to fetch token: %w", err)
	}
	got, ok := r.(*authentication.TokenRequest)
	if !ok || got.Status.Token == "" {
		return "", fmt.Errorf("fetch a token of %s/%s: the API answered with none", pod.Namespace, name)
	}
	return got.Status.Token, nil
}
