package remote

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/client"
	"proa.dev/object"
)

// refusedPause is how long nobody asks again who was told that they may not, at most.
const refusedPause = time.Minute

// Follow tells fn which objects of a resource there are that the field selector takes, at first and after each change, in key order,
// until ctx ends. While the server is away fn hears nothing, and then what has become of them. An error is a server's refusal: it is
// told, and tried again now and then. One call is one watch.
func (c *Client) Follow(ctx context.Context, r client.Resource, namespace, fields string, fn func(all []object.Object, err error)) error {
	f := &following{fn: fn, all: map[object.Key]object.Object{}}
	quiet := slog.New(slog.DiscardHandler) // a server that is away is told of once, by the View
	return (&reflector{c: c, log: quiet, to: f, from: client.Target{Resource: r, Key: object.Key{Namespace: namespace}}, fields: fields, refused: f.refuse}).run(ctx)
}

// following is what one Follow knows. Only its reflector's goroutine touches it.
type following struct {
	fn   func(all []object.Object, err error)
	all  map[object.Key]object.Object
	told bool // the last that fn heard is all
}

func (f *following) replace(all map[object.Key]object.Object) {
	same := f.told && maps.EqualFunc(f.all, all, func(a, b object.Object) bool {
		return a.GetUID() == b.GetUID() && a.GetResourceVersion() == b.GetResourceVersion()
	})
	if f.all = all; !same {
		f.tell()
	}
}

func (f *following) apply(t client.EventType, o object.Object) {
	if t == client.Deleted {
		delete(f.all, object.KeyOf(o))
	} else {
		f.all[object.KeyOf(o)] = o
	}
	f.tell()
}

func (f *following) tell() {
	f.told = true
	out := make([]object.Object, 0, len(f.all))
	for _, k := range slices.SortedFunc(maps.Keys(f.all), compareKeys) {
		out = append(out, f.all[k])
	}
	f.fn(out, nil)
}

func (f *following) refuse(err error) {
	f.told = false
	f.fn(nil, err)
}

// refusal says whether a server does not want to be asked, rather than being unable to answer.
func refusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err)
}
