package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mvalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/codec"
	"proa.dev/apiserver/rest"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
)

// serve answers a request to a resource.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	q := requestOf(r.Context())
	if q.served == nil || q.astray() {
		s.unserved(w, r, q)
		return
	}
	if err := q.possible(); err != nil {
		s.fail(w, r, err)
		return
	}
	if sub := q.sub(); sub != nil && sub.Connecting {
		s.connect(w, r, q)
		return
	}
	var err error
	if err = codec.Routed(r.Header.Get("Accept"), q.target.Name == "" && r.Method == http.MethodGet); err != nil && q.served.Kind.Custom == nil {
		s.fail(w, r, err)
		return
	}
	if q.want, err = codec.Accept(r.Header.Get("Accept")); err != nil {
		s.fail(w, r, err)
		return
	}
	q.accepted = true
	var ctx context.Context
	ctx, q.notes = admission.WithNotes(r.Context())
	admission.Warn(ctx, s.deprecation(q.served, q.target.Sub))
	if c := q.served.Kind.Custom; c != nil {
		admission.Warn(ctx, c.Warning)
	}
	if q.served.Kind.Custom != nil && q.want.Form == codec.Protobuf && q.want.Shape == codec.Plain && q.target.Sub != "scale" {
		want, err := codec.AcceptText(r.Header.Get("Accept"))
		if err != nil { // which has a protobuf form
			s.fail(w, r, err)
			return
		}
		q.want = want
	}
	if q.verb == "watch" {
		s.watch(w, r, q)
		return
	}
	code, answer, listing, err := s.do(ctx, r, q)
	switch {
	case err != nil:
		s.fail(w, r, err)
	case listing != nil:
		s.list(w, r, listing)
	default:
		s.object(w, r, code, answer)
	}
}

// possible says whether there is such a path, and whether the method is one for it.
func (q *request) possible() error {
	if q.served.Kind.Custom != nil {
		return q.possibleCustom()
	}
	verbs := q.served.Kind.Verbs
	switch {
	case !q.served.Namespaced && q.target.Namespace != "" && (q.served.Kind.Kind != "Namespace" || q.target.Name != q.target.Namespace), q.depth > 1 && q.target.Name == "":
		return noSuchPath()
	case q.target.Sub != "":
		sub := q.sub()
		if sub == nil || q.depth > 3 && sub.Name != "proxy" {
			return noSuchPath()
		}
		if verbs = sub.Verbs; sub.Name == "proxy" && (q.verb == "options" || q.head) {
			return nil // no methods of the API's own, but a proxy passes every one on
		}
	case q.target.Name != "":
		verbs = only(verbs, "get", "update", "patch", "delete", "watch")
	case q.served.Namespaced && q.target.Namespace == "":
		verbs = only(verbs, "list", "watch")
	default:
		verbs = only(verbs, "create", "list", "watch", "deletecollection")
	}
	if q.served.Namespaced && q.target.Namespace == "" && q.target.Name != "" || len(verbs) == 0 {
		return noSuchPath()
	}
	if !slices.Contains(verbs, q.verb) || q.head {
		return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false)
	}
	if msgs := path.IsValidPathSegmentName(q.target.Name); len(msgs) > 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("Name parameter invalid: %q: %s", q.target.Name, strings.Join(msgs, ";")))
	}
	return nil
}

func only(verbs []string, of ...string) (out []string) {
	for _, v := range verbs {
		if slices.Contains(of, v) {
			out = append(out, v)
		}
	}
	return out
}

// noSuchPath is the 404 for what no kind has, in contrast to an object that is not there.
func noSuchPath() error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false)
}

// astray says whether a custom resource is looked for where its kind has none: in a namespace, or in no namespace.
func (q *request) astray() bool {
	if q.served.Kind.Custom == nil || q.served.Namespaced == (q.target.Namespace != "") {
		return false
	}
	return !q.served.Namespaced || q.verb != "list" && q.verb != "watch"
}

// possibleCustom is possible for custom resources, where Kubernetes has another server with words of its own.
func (q *request) possibleCustom() error {
	verb := q.verb
	if !slices.Contains(knownVerbs[:], verb) { // a method that means nothing has no name
		verb = ""
	}
	method := apierrors.NewMethodNotSupported(q.served.GroupVersionResource.GroupResource(), verb)
	if q.target.Sub == "" {
		if !slices.Contains(q.served.Kind.Verbs, q.verb) {
			return method
		}
		if (q.verb == "update" || q.verb == "patch") && q.target.Name == "" {
			return apierrors.NewBadRequest("name must be provided")
		}
		return nil
	}
	sub := q.sub()
	switch {
	case sub == nil:
		return apierrors.NewNotFound(q.served.GroupVersionResource.GroupResource(), q.missing())
	case !slices.Contains(sub.Verbs, q.verb):
		return method
	}
	return nil
}

var knownVerbs = [...]string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

// missing is what a 404 of an unknown subresource names.
func (q *request) missing() string {
	if q.served.Kind.Custom != nil {
		return q.target.Name
	}
	return q.target.Name + "/" + q.target.Sub
}

var (
	statusSub = kinds.Sub{Name: "status", Verbs: []string{"get", "patch", "update"}}
	scaleSub  = kinds.Sub{Name: "scale", Verbs: []string{"get", "patch", "update"}}
)

// sub is the subresource that the request is about; nil if the kind has none of that name.
func (q *request) sub() *kinds.Sub {
	k := q.served.Kind
	switch {
	case q.target.Sub == "status" && k.Status:
		return &statusSub
	case q.target.Sub == "scale" && k.Scale != nil:
		return &scaleSub
	}
	for i := range k.Subs {
		if k.Subs[i].Name == q.target.Sub {
			return &k.Subs[i]
		}
	}
	return nil
}

// do calls the verb.
func (s *Server) do(ctx context.Context, r *http.Request, q *request) (code int, a rest.Answer, l *rest.Listing, err error) {
	code = http.StatusOK
	switch q.verb {
	case "get":
		if asks(q.query, "export") {
			err = apierrors.NewBadRequest("the export parameter, deprecated since v1.14, is no longer supported")
			break
		}
		a, err = s.rest.Get(ctx, q.served, q.about(), metav1.GetOptions{ResourceVersion: q.query.Get("resourceVersion")})
	case "list":
		var opt metav1.ListOptions
		if opt, err = listOptions(q.query); err == nil {
			l, err = s.rest.List(ctx, q.served, q.about(), opt)
			err = q.served.Uncached(err)
		}
	case "create":
		a, err = s.create(ctx, r, q)
	case "update":
		a, err = s.update(ctx, r, q)
	case "patch":
		a, err = s.patch(ctx, r, q)
	case "delete":
		var opt metav1.DeleteOptions
		if opt, err = deleteOptions(r, q.query); err == nil {
			a, err = s.rest.Delete(ctx, q.served, q.about(), opt)
			if a.Pending && opt.OrphanDependents != nil && !*opt.OrphanDependents { //nolint:staticcheck // as Kubernetes does
				code = http.StatusAccepted
			}
		}
	case "deletecollection":
		l, err = s.deleteCollection(ctx, r, q)
	default:
		err = apierrors.NewMethodNotSupported(q.served.GroupVersionResource.GroupResource(), q.verb)
	}
	if a.Created {
		code = http.StatusCreated
	}
	return code, a, l, err
}

func (s *Server) deleteCollection(ctx context.Context, r *http.Request, q *request) (*rest.Listing, error) {
	which, err := listOptions(q.query)
	if err != nil {
		return nil, err
	}
	opt, err := deleteOptions(r, q.query)
	if err != nil {
		return nil, err
	}
	return s.rest.DeleteCollection(ctx, q.served, q.about(), opt, which)
}

// body reads the object that the request brings.
func (s *Server) body(ctx context.Context, r *http.Request, q *request) (object.Object, error) {
	form, err := codec.ContentType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	data, err := readBody(r)
	if err != nil {
		return nil, err
	}
	o := q.served.Body(q.target.Sub)
	if o == nil {
		return nil, apierrors.NewMethodNotSupported(q.served.GroupVersionResource.GroupResource(), q.verb)
	}
	want := o.GetObjectKind().GroupVersionKind()
	if want.Kind == "" {
		want = q.served.GVK()
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // let the body say it
	strict, err := codec.Decode(data, form, want, o)
	if err != nil {
		if unknown := otherVersion(ctx, q, data, form, o); unknown != nil {
			err = unknown
		}
		return nil, err
	}
	unknown, err := q.served.Shape(o)
	if err != nil {
		return nil, err
	}
	noteBody(ctx, o, data, form)
	return o, rest.FieldErrors(ctx, want, append(strict, unknown...), q.query.Get("fieldValidation"))
}

// otherVersion tells of the unknown fields of a body, which reads as o, that is of another version of the kind than the one that is asked
// for: it is refused in any case, but Kubernetes looks at the fields first.
func otherVersion(ctx context.Context, q *request, data []byte, form codec.Form, o object.Object) error {
	said := o.GetObjectKind().GroupVersionKind()
	k := q.served.Kind
	versions := append([]kinds.Other{{Path: k.GroupVersion().String() + "/", New: k.New}}, k.Also...)
	for _, v := range versions {
		if len(k.Also) == 0 || q.target.Sub != "" || said.Kind != k.Kind || !strings.HasPrefix(v.Path, said.GroupVersion().String()+"/") {
			continue
		}
		strict, err := codec.Decode(data, form, said, v.New())
		if err != nil {
			return err
		}
		return rest.FieldErrors(ctx, said, strict, q.query.Get("fieldValidation"))
	}
	return nil
}

func (s *Server) create(ctx context.Context, r *http.Request, q *request) (rest.Answer, error) {
	opt := metav1.CreateOptions{DryRun: q.query["dryRun"], FieldManager: q.query.Get("fieldManager"), FieldValidation: q.query.Get("fieldValidation")}
	if errs := mvalidation.ValidateCreateOptions(&opt); len(errs) > 0 {
		return rest.Answer{}, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "CreateOptions"}, "", errs)
	}
	o, err := s.body(ctx, r, q)
	if err != nil {
		return rest.Answer{}, err
	}
	t := q.about()
	if q.target.Sub == "" {
		t.Name = ""
	}
	return s.rest.Create(ctx, q.served, t, o, opt)
}

func (s *Server) update(ctx context.Context, r *http.Request, q *request) (rest.Answer, error) {
	opt := metav1.UpdateOptions{DryRun: q.query["dryRun"], FieldManager: q.query.Get("fieldManager"), FieldValidation: q.query.Get("fieldValidation")}
	if errs := mvalidation.ValidateUpdateOptions(&opt); len(errs) > 0 {
		return rest.Answer{}, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "UpdateOptions"}, "", errs)
	}
	o, err := s.body(ctx, r, q)
	if err != nil {
		return rest.Answer{}, err
	}
	return s.rest.Update(ctx, q.served, q.about(), o, opt)
}

// anyOf says whether one of the types that a header lists is among types.
func anyOf(header string, types []string) bool {
	for one := range strings.SplitSeq(header, ",") {
		one, _, _ = strings.Cut(one, ";")
		if slices.Contains(types, strings.TrimSpace(one)) {
			return true
		}
	}
	return false
}

func (s *Server) patch(ctx context.Context, r *http.Request, q *request) (rest.Answer, error) {
	accepted := rest.PatchTypes(q.served)
	said := r.Header.Get("Content-Type")
	t, _, _ := strings.Cut(said, ";")
	if able := strings.Split(accepted, ", "); !slices.Contains(able, t) {
		if q.served.Kind.Custom == nil && !anyOf(said, able) {
			return rest.Answer{}, apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "", schema.GroupResource{}, "",
				"415: Unsupported Media Type", 0, false)
		}
		return rest.Answer{}, codec.Unsupported(accepted)
	}
	data, err := readBody(r)
	if err != nil {
		return rest.Answer{}, err
	}
	notePatch(ctx, data)
	opt := metav1.PatchOptions{DryRun: q.query["dryRun"], FieldManager: q.query.Get("fieldManager"), FieldValidation: q.query.Get("fieldValidation")}
	if q.query.Has("force") {
		force := asks(q.query, "force")
		opt.Force = &force
	}
	return s.rest.Patch(ctx, q.served, q.about(), client.Patch{Type: types.PatchType(t), Data: data}, opt)
}
