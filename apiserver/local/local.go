package local

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/apiserver/audit"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/apiserver/cache"
	"proa.dev/apiserver/flow"
	"proa.dev/apiserver/rest"
	"proa.dev/client"
	"proa.dev/object"
)

// limit bounds every call, as requests over HTTPS are bounded.
const limit = 60 * time.Second

// Gate is what a call passes before and after the verb.
type Gate interface {
	// Begin counts a call as under way and begins to write it down.
	Begin(ctx context.Context, a authz.Attributes) (context.Context, Call)
	// Allow is nil if the authoriser allows it, else the 403.
	Allow(ctx context.Context, a authz.Attributes) error
	// Done ends what Begin began, of a call that ended with err.
	Done(a authz.Attributes, c *Call, err error)
}

// Call is one call under way.
type Call struct {
	Ticket flow.Ticket
	Record *audit.Record // nil: it is not written down
	Began  time.Time
}

// Deps are what a Client is made of.
type Deps struct {
	API   *rest.API
	Gate  Gate
	User  authn.User
	As    string          // the field manager of writes
	Ready <-chan struct{} // closed when the API can answer: calls wait for it
	Ended <-chan struct{} // closed when it cannot any more
}

// Client is client.Client in process.
type Client struct{ Deps }

// New makes a client. It starts nothing.
func New(d Deps) *Client { return &Client{d} }

var _ client.Client = (*Client)(nil)

// errEnded says that the server has ended.
var errEnded = errors.New("the API server has ended")

// call is what all verbs have in common: wait, authorise, do, count.
func (c *Client) call(ctx context.Context, verb string, t client.Target, do func(context.Context, *rest.Served) error) error {
	return c.callSome(ctx, verb, t, metav1.ListOptions{}, do)
}

// callSome is call for verbs that are about those of the objects that which selects.
func (c *Client) callSome(ctx context.Context, verb string, t client.Target, which metav1.ListOptions, do func(context.Context, *rest.Served) error) (err error) {
	select {
	case <-c.Ready:
	case <-c.Ended:
		return apierrors.NewServiceUnavailable(errEnded.Error())
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c.Ended: // it was ready once, and is no more
		return apierrors.NewServiceUnavailable(errEnded.Error())
	default:
	}
	a := authz.Attributes{User: c.User, Verb: verb, Group: t.Group, Version: t.Version, Resource: t.Resource.Resource, Sub: t.Sub,
		Namespace: t.Namespace, Name: t.Name, ResourceRequest: true}
	if a.Resource == "namespaces" && a.Group == "" {
		a.Namespace = t.Name
	}
	limitTo(&a, which)
	ctx, call := c.Gate.Begin(ctx, a)
	defer func() { c.Gate.Done(a, &call, err) }()
	s := c.API.Find(t.Resource)
	if s == nil {
		return apierrors.NewNotFound(t.Resource.GroupResource(), t.Name)
	}
	if err := c.Gate.Allow(ctx, a); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(rest.WithManager(authn.With(ctx, c.User), c.As), limit)
	defer cancel()
	return do(ctx, s)
}

// limitTo tells the authoriser what a call is limited to by selectors. One that cannot be read limits nothing here; the verb refuses it.
func limitTo(a *authz.Attributes, which metav1.ListOptions) {
	if which.FieldSelector != "" {
		if sel, err := fields.ParseSelector(which.FieldSelector); err == nil {
			a.Fields = sel.Requirements()
		}
	}
	if which.LabelSelector != "" {
		if sel, err := labels.Parse(which.LabelSelector); err == nil {
			a.Labels, _ = sel.Requirements()
		}
	}
}

// out is the object of an answer, as s serves it.
func out(s *rest.Served, a rest.Answer) (object.Object, error) {
	o, err := a.Object(s)
	if err != nil {
		return nil, err
	}
	obj, _ := o.(object.Object) // a Status is no object
	return obj, nil
}

// note writes down the object of a call.
func note(ctx context.Context, o object.Object) {
	r := audit.Of(ctx)
	if r == nil {
		return
	}
	r.About(o)
	if r.Wants(audit.Request) {
		if b, err := json.Marshal(o); err == nil {
			r.Request(b)
		}
	}
}

// answer writes down the object that a call returns.
func answer(ctx context.Context, o object.Object) {
	if r := audit.Of(ctx); r.Wants(audit.RequestResponse) {
		if b, err := json.Marshal(o); err == nil {
			r.Response(b)
		}
	}
}

// Get implements client.Client.
func (c *Client) Get(ctx context.Context, t client.Target) (o object.Object, err error) {
	err = c.call(ctx, "get", t, func(ctx context.Context, s *rest.Served) error {
		a, err := c.API.Get(ctx, s, t, metav1.GetOptions{})
		if err == nil {
			o, err = out(s, a)
		}
		return err
	})
	return o, err
}

// List implements client.Client.
func (c *Client) List(ctx context.Context, t client.Target, opt metav1.ListOptions) (l *client.List, err error) {
	err = c.callSome(ctx, "list", t, opt, func(ctx context.Context, s *rest.Served) error {
		page, err := c.API.List(ctx, s, t, opt)
		if err != nil {
			return err
		}
		l = &client.List{ResourceVersion: page.Meta.ResourceVersion, Continue: page.Meta.Continue}
		l.Items, err = objects(s, page.Items)
		return err
	})
	return l, err
}

func objects(s *rest.Served, items []*cache.Item) ([]object.Object, error) {
	out := make([]object.Object, len(items))
	for i, it := range items {
		o, err := s.Out(it.Object)
		if err != nil {
			return nil, err
		}
		out[i] = o
	}
	return out, nil
}

// Create implements client.Client.
func (c *Client) Create(ctx context.Context, t client.Target, o object.Object, opt metav1.CreateOptions) (made object.Object, err error) {
	err = c.call(ctx, "create", t, func(ctx context.Context, s *rest.Served) error {
		note(ctx, o)
		a, err := c.API.Create(ctx, s, t, o, opt)
		if err == nil {
			made, err = out(s, a)
			answer(ctx, made)
		}
		return err
	})
	return made, err
}

// Update implements client.Client.
func (c *Client) Update(ctx context.Context, t client.Target, o object.Object, opt metav1.UpdateOptions) (now object.Object, err error) {
	err = c.call(ctx, "update", t, func(ctx context.Context, s *rest.Served) error {
		note(ctx, o)
		a, err := c.API.Update(ctx, s, t, o, opt)
		if err == nil {
			now, err = out(s, a)
			answer(ctx, now)
		}
		return err
	})
	return now, err
}

// Patch implements client.Client.
func (c *Client) Patch(ctx context.Context, t client.Target, p client.Patch, opt metav1.PatchOptions) (now object.Object, err error) {
	err = c.call(ctx, "patch", t, func(ctx context.Context, s *rest.Served) error {
		if r := audit.Of(ctx); r.Wants(audit.Request) {
			r.Request(p.Data)
		}
		a, err := c.API.Patch(ctx, s, t, p, opt)
		if err == nil {
			now, err = out(s, a)
			answer(ctx, now)
		}
		return err
	})
	return now, err
}

// Delete implements client.Client.
func (c *Client) Delete(ctx context.Context, t client.Target, opt metav1.DeleteOptions) error {
	return c.call(ctx, "delete", t, func(ctx context.Context, s *rest.Served) error {
		_, err := c.API.Delete(ctx, s, t, opt)
		return err
	})
}

// DeleteCollection implements client.Client.
func (c *Client) DeleteCollection(ctx context.Context, t client.Target, opt metav1.DeleteOptions, which metav1.ListOptions) error {
	return c.callSome(ctx, "deletecollection", t, which, func(ctx context.Context, s *rest.Served) error {
		_, err := c.API.DeleteCollection(ctx, s, t, opt, which)
		return err
	})
}
