package pull

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/pulled"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
	"proa.dev/object"
)

// Config is how images come to the node. The zero value is without bounds, with Kubernetes' policy.
type Config struct {
	Parallel  int           // pulls at the same time; 0: any number
	PerSecond int           // requests for pulls, after Burst at once; more fail; 0: any number
	Burst     int           // default 10
	Verify    pulled.Policy // of images that are there
}

// Credentials finds what image registries want to know.
type Credentials interface {
	// For are the credentials for an image, the best match first. pod is who wants it.
	For(ctx context.Context, image string, pod *core.Pod) []pulled.Credential
}

// Secrets finds pull secrets.
type Secrets interface {
	Secret(namespace, name string) (*core.Secret, error)
}

// Recorder writes events.
type Recorder interface {
	Event(o object.Object, eventtype, reason, format string, args ...any)
	Field(o object.Object, fieldPath, eventtype, reason, format string, args ...any)
}

// Starts hears what keeps pods from starting.
type Starts interface {
	Pulling(types.UID) // an image for the pod is being pulled
	Pulled(types.UID)  // one has come, or was there
}

// Deps are what a Puller needs.
type Deps struct {
	Config
	Root        string // of the kubelet
	Images      cri.Images
	Secrets     Secrets
	Credentials Credentials // nil: only what pods bring
	Starts      Starts
	Events      Recorder
	Log         *slog.Logger
}

// Puller makes images present. It is safe for concurrent use.
type Puller struct {
	Deps
	*pulled.Records
	slots chan struct{} // one element for each pull under way; nil: they are not counted
	rate  bucket
	asked requests
	took  prom.Times[[1]string] // by size
}

// New reads what is known of images that are on the node.
func New(d Deps) (*Puller, error) {
	records, err := pulled.Open(d.Root, d.Verify, d.Log)
	if err != nil {
		return nil, err
	}
	p := &Puller{Deps: d, Records: records, rate: newBucket(d.PerSecond, d.Burst)}
	if d.Parallel > 0 {
		p.slots = make(chan struct{}, d.Parallel)
	}
	return p, nil
}

// Recover takes up what was being pulled when the last process ended. It has to be called before Ensure.
func (p *Puller) Recover(ctx context.Context) {
	p.Records.Recover(ctx, func(ctx context.Context, image string) (string, error) {
		name, err := withTag(image)
		if err != nil {
			return "", err
		}
		have, err := p.status(ctx, &runtimeapi.ImageSpec{Image: name, UserSpecifiedImage: image})
		return have.GetId(), err
	})
}

// Error is why there is no image, in the API's words.
type Error struct {
	status.Reason
	Image string // as the pod says it, if it was asked for in vain: the next time is put off
}

func (e *Error) Error() string { return e.Reason.Reason + ": " + e.Message }

func failed(reason, message string) error {
	return &Error{Reason: status.Reason{Reason: reason, Message: message}}
}

// Want is an image that a container of a pod needs: its own, or one that it mounts.
type Want struct {
	Pod    *core.Pod
	Field  string // of the container, "spec.containers{web}"
	Image  string
	Policy core.PullPolicy
	Box    func() (*runtimeapi.PodSandboxConfig, error) // of the pod
}

// request is one call of Ensure.
type request struct {
	*Puller
	*Want
	image       *runtimeapi.ImageSpec
	credentials func() []pulled.Credential // looked up once, and only if they are needed
}

func (r *request) event(kind, reason, format string, args ...any) {
	r.Events.Field(r.Pod, r.Field, kind, reason, format, args...)
}

// Ensure makes an image present.
func (p *Puller) Ensure(ctx context.Context, w *Want) (spec.Image, error) {
	name, err := withTag(w.Image)
	r := &request{Puller: p, Want: w, image: &runtimeapi.ImageSpec{Image: name, UserSpecifiedImage: w.Image}}
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %s", w.Image, err)
		r.event(core.EventTypeWarning, "InspectFailed", "%s", message)
		return spec.Image{}, failed("InvalidImageName", message)
	}
	r.credentials = sync.OnceValue(func() []pulled.Credential { return p.find(ctx, name, w.Pod) })
	if w.Policy == core.PullAlways {
		p.asked.add(w.Policy, unknown, yes)
		return r.pull(ctx)
	}
	have, err := p.status(ctx, r.image)
	if err != nil {
		p.asked.add(w.Policy, unknown, unknown)
		r.event(core.EventTypeWarning, "InspectFailed", "Failed to inspect image %q: %s", w.Image, cri.Message(err))
		return spec.Image{}, failed("ImageInspectError", cri.Message(err))
	}
	here := have != nil
	if here && p.MayUse(w.Image, have.GetId(), r.credentials) {
		p.asked.add(w.Policy, yes, no)
		p.Starts.Pulled(w.Pod.UID)
		r.event(core.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", w.Image)
		return describe(have), nil
	}
	if w.Policy == core.PullNever { // one that the pod may not have is not there for it
		p.asked.add(w.Policy, answerOf(here), map[bool]answer{true: yes, false: unknown}[here])
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", w.Image)
		r.event(core.EventTypeWarning, "ErrImageNeverPull", "%s", message)
		return spec.Image{}, failed("ErrImageNeverPull", message)
	}
	p.asked.add(w.Policy, answerOf(here), yes)
	return r.pull(ctx)
}

func (r *request) pull(ctx context.Context) (out spec.Image, err error) {
	var id string
	var by *pulled.Credential
	end, err := r.Begin(r.Image)
	if err != nil {
		return out, r.failed(ctx, "ErrImagePull", fmt.Sprintf("Failed to record image pull intent for container image %q: %v", r.Image, err))
	}
	defer func() { end(id, by) }()
	r.event(core.EventTypeNormal, "Pulling", "Pulling image %q", r.Image)
	asked := time.Now()
	r.Starts.Pulling(r.Pod.UID)
	if r.slots != nil {
		select {
		case r.slots <- struct{}{}:
			defer func() { <-r.slots }()
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
	began := time.Now()
	ref, by, err := r.fetch(ctx)
	if err != nil {
		reason, message := explain(r.Image, err)
		if ctx.Err() == nil {
			r.event(core.EventTypeWarning, "Failed", "Failed to pull image %q: %s", r.Image, err)
		}
		return out, r.failed(ctx, reason, message)
	}
	id = ref
	r.Starts.Pulled(r.Pod.UID)
	took, waited := time.Since(began).Truncate(time.Millisecond), time.Since(asked).Truncate(time.Millisecond)
	have, err := r.status(ctx, r.image)
	if err != nil || have == nil { // the runtime knows it under the reference that it gave
		have, err = r.status(ctx, &runtimeapi.ImageSpec{Image: ref})
	}
	if err != nil {
		return out, failed("ImageInspectError", cri.Message(err))
	}
	r.pulled(waited, have.GetSize())
	if have == nil {
		return spec.Image{Ref: ref}, nil
	}
	id = have.GetId()
	r.event(core.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", r.Image, took, waited, have.GetSize())
	return describe(have), nil
}

// failed ends a pull. One that is not wanted any more is no failure.
func (r *request) failed(ctx context.Context, reason, message string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.event(core.EventTypeWarning, "Failed", "Error: %s", reason)
	return &Error{status.Reason{Reason: reason, Message: message}, r.Image}
}

// fetch asks the runtime, with one credential after the other, and returns that which was good; nil: it went without.
func (r *request) fetch(ctx context.Context) (ref string, by *pulled.Credential, err error) {
	box, err := r.Box()
	if err != nil {
		return "", nil, err
	}
	try := func(auth *runtimeapi.AuthConfig) error {
		if !r.rate.take(time.Now()) {
			return errRate
		}
		got, err := r.Images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: r.image, Auth: auth, SandboxConfig: box})
		ref = got.GetImageRef()
		return err
	}
	all := r.credentials()
	if len(all) == 0 {
		if err := try(nil); err != nil {
			return "", nil, &refusals{[]string{cri.Message(err)}}
		}
		return ref, nil, nil
	}
	var why refusals
	for i := range all {
		c := &all[i]
		err := try(&runtimeapi.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken})
		if err == nil {
			return ref, c, nil
		}
		why.add(cri.Message(err))
	}
	return "", nil, &why
}

func (p *Puller) status(ctx context.Context, image *runtimeapi.ImageSpec) (*runtimeapi.Image, error) {
	r, err := p.Images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: image})
	if cri.NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.GetImage(), nil
}

func describe(i *runtimeapi.Image) spec.Image {
	out := spec.Image{Ref: i.GetId(), User: i.GetUsername()}
	if u := i.GetUid(); u != nil {
		out.UID = &u.Value
	}
	return out
}
