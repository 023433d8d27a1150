package source

import (
	"context"
	"fmt"
	"slices"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// Objects finds what pods refer to. It implements volume.Sources.
type Objects struct {
	View   client.View
	Client client.Client
}

// find looks in the View, and asks the API where the View does not carry the kind.
func find[T any, P object.Ptr[T]](o *Objects, namespace, name string) (P, error) {
	key := object.Key{Namespace: namespace, Name: name}
	if found, ok := client.Lookup[T, P](o.View, key); ok {
		return found, nil
	}
	if r := object.ResourceOf[T, P](); o.carries(r) {
		return nil, apierrors.NewNotFound(r.GroupResource(), name)
	}
	return client.Get[T, P](context.Background(), o.Client, key)
}

func (o *Objects) carries(r client.Resource) bool {
	return slices.ContainsFunc(o.View.Resources(), func(c object.Resource) bool { return c.GroupVersionResource == r })
}

// FollowsClaims says whether the View carries claims: then Pods.Objects tells of their changes.
func (o *Objects) FollowsClaims() bool {
	return o.carries(object.ResourceOf[core.PersistentVolumeClaim]())
}

// FollowsFiles is the same for ConfigMaps and Secrets.
func (o *Objects) FollowsFiles() bool {
	return o.carries(object.ResourceOf[core.ConfigMap]()) && o.carries(object.ResourceOf[core.Secret]())
}

// ConfigMap finds one ConfigMap.
func (o *Objects) ConfigMap(namespace, name string) (*core.ConfigMap, error) {
	return find[core.ConfigMap](o, namespace, name)
}

// Secret finds one Secret.
func (o *Objects) Secret(namespace, name string) (*core.Secret, error) {
	return find[core.Secret](o, namespace, name)
}

// Services are those of one namespace.
func (o *Objects) Services(namespace string) []*core.Service {
	return client.ListOf[core.Service](o.View, client.Select{Namespace: namespace})
}

// Claim finds one claim.
func (o *Objects) Claim(namespace, name string) (*core.PersistentVolumeClaim, error) {
	return find[core.PersistentVolumeClaim](o, namespace, name)
}

// Volume finds one persistent volume.
func (o *Objects) Volume(name string) (*core.PersistentVolume, error) {
	return find[core.PersistentVolume](o, "", name)
}

// Driver finds what the cluster knows of a CSI driver.
func (o *Objects) Driver(name string) (*storage.CSIDriver, error) {
	return find[storage.CSIDriver](o, "", name)
}

// Attachment finds one attachment of a volume to a node.
func (o *Objects) Attachment(name string) (*storage.VolumeAttachment, error) {
	return find[storage.VolumeAttachment](o, "", name)
}

// Resized says in the claim's status that its volume has become as large as size.
func (o *Objects) Resized(ctx context.Context, claim *core.PersistentVolumeClaim, size resource.Quantity) error {
	for {
		n := object.Clone(claim)
		if n.Status.Capacity == nil {
			n.Status.Capacity = core.ResourceList{}
		}
		n.Status.Capacity[core.ResourceStorage] = size
		n.Status.Conditions = slices.DeleteFunc(n.Status.Conditions, func(c core.PersistentVolumeClaimCondition) bool {
			switch c.Type {
			case core.PersistentVolumeClaimResizing, core.PersistentVolumeClaimFileSystemResizePending,
				core.PersistentVolumeClaimControllerResizeError, core.PersistentVolumeClaimNodeResizeError:
				return true
			}
			return false
		})
		delete(n.Status.AllocatedResourceStatuses, core.ResourceStorage)
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
