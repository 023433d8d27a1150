package apiserver

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/apiserver/codec"
	"proa.dev/apiserver/flow"
	"proa.dev/apiserver/rest"
	"proa.dev/client"
	"proa.dev/object"
)

// request is what one HTTP request is about, as the stages of the chain find it out.
type request struct {
	verb     string // "get", "list" ... ; for a path that is no resource the method in lower case
	resource bool   // it is about a resource
	target   client.Target
	head     bool         // the method is HEAD
	depth    int          // segments of the path from the resource on
	served   *rest.Served // nil: not served
	query    url.Values
	want     codec.Wanted
	accepted bool   // want says what the client takes
	path     string // of a request that is about no resource
	began    time.Time
	allowed  time.Duration       // what it may take, from began on; 0: as long as it likes
	untimely error               // it asks for an impossible limit
	out      http.ResponseWriter // the outermost one: with the connection's deadlines
	user     authn.User
	actual   *authn.User      // who impersonates user; nil: nobody
	notes    *admission.Notes // what was said beside the answer; nil: nothing can be
	code     int              // what it was answered with
	id       string           // of the audit log, and of the Audit-Id header
	ticket   flow.Ticket      // of its fair share; left when it ends, or when a watch has begun
}

type requestKey struct{}

// requestOf is the request that ctx belongs to.
func requestOf(ctx context.Context) *request { return ctx.Value(requestKey{}).(*request) }

// identify finds out what an HTTP request is about, from its method, path and query alone.
func identify(r *http.Request, find func(client.Resource) *rest.Served) *request {
	q := &request{verb: strings.ToLower(r.Method), head: r.Method == http.MethodHead, began: time.Now()}
	if r.URL.RawQuery != "" {
		q.query = r.URL.Query()
	}
	parts := split(r.URL.Path)
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		q.target.Version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		q.target.Group, q.target.Version, parts = parts[1], parts[2], parts[3:]
	default:
		q.path = r.URL.Path
		return q
	}
	watch := false
	if parts[0] == "watch" && len(parts) > 1 { // the old form of ?watch=true
		watch, parts = true, parts[1:]
	}
	if parts[0] == "namespaces" && len(parts) > 1 {
		q.target.Namespace = parts[1]
		if len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			parts = parts[2:]
		}
	}
	q.resource = true
	q.depth = len(parts)
	q.target.Resource.Resource = parts[0]
	if len(parts) > 1 {
		q.target.Name = parts[1]
	}
	if len(parts) > 2 {
		q.target.Sub = parts[2]
	}
	q.verb = q.verbOf(r.Method, watch)
	q.served = find(q.target.Resource)
	return q
}

// split cuts a path at its slashes, and leaves out the empty ends.
func split(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// verbOf is the API's verb for an HTTP method.
func (q *request) verbOf(method string, watch bool) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if q.target.Name == "" {
			return "deletecollection"
		}
		return "delete"
	case http.MethodGet, http.MethodHead:
	default:
		return strings.ToLower(method)
	}
	if q.target.Sub == "" && (watch || q.target.Name == "" && asks(q.query, "watch")) {
		return "watch"
	}
	if q.target.Name == "" {
		return "list"
	}
	return "get"
}

// asks says whether a query has this flag. Everything but "false" and "0" sets it.
func asks(v url.Values, name string) bool {
	values, ok := v[name]
	return ok && (len(values) == 0 || values[0] != "0" && !strings.EqualFold(values[0], "false"))
}

// key is the key of the object that the request names: cluster-scoped ones have no namespace.
func (q *request) key() object.Key {
	k := q.target.Key
	if q.served != nil && !q.served.Namespaced {
		k.Namespace = ""
	}
	return k
}

// about is the target with its real key.
func (q *request) about() client.Target {
	t := q.target
	t.Key = q.key()
	return t
}

// attributes are what the authoriser judges.
func (q *request) attributes(path string) authz.Attributes {
	a := authz.Attributes{User: q.user, Verb: q.verb, Path: path, ResourceRequest: q.resource}
	if !q.resource {
		return a
	}
	if !slices.Contains(knownVerbs[:], q.verb) { // a method that means nothing to resources has no name
		a.Verb = ""
	}
	a.Group, a.Version, a.Resource, a.Sub = q.target.Group, q.target.Version, q.target.Resource.Resource, q.target.Sub
	a.Namespace, a.Name = q.target.Namespace, q.target.Name
	if q.verb == "list" || q.verb == "watch" || q.verb == "deletecollection" {
		q.limit(&a)
	}
	return a
}

// limit tells the authoriser what a request is limited to by selectors. One that cannot be read limits nothing here; the verb refuses it.
func (q *request) limit(a *authz.Attributes) {
	if text := q.query.Get("fieldSelector"); text != "" {
		if sel, err := fields.ParseSelector(text); err == nil {
			a.Fields = sel.Requirements()
			// Whoever may see one object may also list and watch that one.
			if name, ok := sel.RequiresExactMatch("metadata.name"); ok && a.Name == "" && q.verb != "deletecollection" && len(path.IsValidPathSegmentName(name)) == 0 {
				a.Name = name
			}
		}
	}
	if text := q.query.Get("labelSelector"); text != "" {
		if sel, err := labels.Parse(text); err == nil {
			a.Labels, _ = sel.Requirements()
		}
	}
}
