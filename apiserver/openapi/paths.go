package openapi

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	authentication "k8s.io/api/authentication/v1"
	autoscaling "k8s.io/api/autoscaling/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kinds"
	"proa.dev/object"
)

// The query parameters of verbs are the fields of their options.
var (
	getQuery    = reflect.TypeFor[metav1.GetOptions]()
	listQuery   = reflect.TypeFor[metav1.ListOptions]()
	createQuery = reflect.TypeFor[metav1.CreateOptions]()
	updateQuery = reflect.TypeFor[metav1.UpdateOptions]()
	patchQuery  = reflect.TypeFor[metav1.PatchOptions]()
	deleteQuery = reflect.TypeFor[metav1.DeleteOptions]()
)

var (
	patchTypes = []string{"application/json-patch+json", "application/merge-patch+json",
		"application/strategic-merge-patch+json", "application/apply-patch+yaml"}
	answerTypes      = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	customPatchTypes = []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}
)

// operation is one method of one path.
type operation struct {
	id, action, description string
	gvk                     schema.GroupVersionKind
	query                   []reflect.Type // options whose fields are query parameters
	body                    model          // zero is none
	bodyTypes               []string       // default: any
	answer                  model          // zero is text
	codes                   []string       // beside 401
	custom                  bool           // it is about a custom kind, whose bodies are JSON or YAML
}

// addPaths adds the paths of r to paths.
func (s *schemas) addPaths(v version, r resource, paths tree) {
	t, list := s.modelsOf(r)
	has := func(verb string) bool { return slices.Contains(r.kind.Verbs, verb) }
	root, scope := "/"+v.path+"/", ""
	collection := root + r.name
	if r.kind.Namespaced {
		scope, collection = "Namespaced", root+"namespaces/{namespace}/"+r.name
	}
	name := v.title() + scope + r.gvk.Kind
	op := func(o operation) operation { o.gvk, o.custom = r.gvk, r.kind.Custom != nil; return o }

	ops := tree{}
	if has("list") {
		o := op(operation{"list" + name, "list", listed(r), r.gvk, []reflect.Type{listQuery}, model{}, nil, list, ok, false})
		ops["get"] = s.operation(v, o)
		if r.kind.Namespaced {
			o.id = "list" + v.title() + r.gvk.Kind + "ForAllNamespaces"
			paths[root+r.name] = s.item(r, root+r.name, tree{"get": s.operation(v, o)})
		}
	}
	if has("create") {
		ops["post"] = s.operation(v, op(operation{"create" + name, "post", "create " + article(r.gvk.Kind), r.gvk, []reflect.Type{createQuery}, t, nil, t, created, false}))
	}
	if has("deletecollection") {
		o := op(operation{
			"delete" + v.title() + "Collection" + scope + r.gvk.Kind, "deletecollection", "delete collection of " + r.gvk.Kind, r.gvk,
			[]reflect.Type{listQuery, deleteQuery}, of(deleteQuery), nil, statusType, ok, false,
		})
		if o.custom { // as Kubernetes describes it
			o.query, o.body = o.query[:1], model{}
		}
		ops["delete"] = s.operation(v, o)
	}
	if len(ops) > 0 {
		paths[collection] = s.item(r, collection, ops)
	}
	path := collection + "/{name}"
	if ops := s.edit(v, op(operation{id: name, body: t, answer: t}), r.kind.Verbs); len(ops) > 0 {
		paths[path] = s.item(r, path, ops)
	}
	if r.kind.Status {
		o := op(operation{id: name + "Status", body: t, answer: t, description: "status of "})
		paths[path+"/status"] = s.item(r, path, s.edit(v, o, []string{"get", "patch", "update"}))
	}
	if r.kind.Scale != nil {
		scale := of(reflect.TypeFor[autoscaling.Scale]())
		o := op(operation{id: name + "Scale", body: scale, answer: scale, description: "scale of "})
		if !o.custom {
			o.gvk = autoscaling.SchemeGroupVersion.WithKind("Scale")
		}
		paths[path+"/scale"] = s.item(r, path, s.edit(v, o, []string{"get", "patch", "update"}))
	}
	for _, sub := range r.kind.Subs {
		if sub.Connecting {
			s.addConnect(v, r, name, sub, paths)
			continue
		}
		paths[path+"/"+sub.Name] = s.item(r, path, s.sub(v, r, name, sub))
	}
}

var (
	ok         = []string{"200"}
	created    = []string{"200", "201", "202"}
	statusType = of(reflect.TypeFor[metav1.Status]())
)

// addRoot adds the path that lists what v has.
func (s *schemas) addRoot(v version, paths tree) {
	paths["/"+v.path+"/"] = tree{"get": s.noKind(s.operation(v, operation{
		id: "get" + v.title() + "APIResources", description: "get available resources",
		answer: of(reflect.TypeFor[metav1.APIResourceList]()), codes: ok,
	}))}
}

// noKind removes from an operation what is said of kinds.
func (s *schemas) noKind(op tree) tree {
	delete(op, "x-kubernetes-action")
	delete(op, "x-kubernetes-group-version-kind")
	return op
}

// edit is the methods of one object or of a subresource that is edited like one. o has the id's end, and the types.
func (s *schemas) edit(v version, o operation, verbs []string) tree {
	out := tree{}
	what := o.description + "the specified " + o.gvk.Kind
	for _, verb := range verbs {
		p := o
		switch verb {
		case "get":
			p.id, p.action, p.description, p.body, p.codes = "read"+o.id, "get", "read "+what, model{}, ok
			if o.custom {
				p.query = []reflect.Type{getQuery}
			}
			out["get"] = s.operation(v, p)
		case "update":
			p.id, p.action, p.description, p.query, p.codes = "replace"+o.id, "put", "replace "+what, []reflect.Type{updateQuery}, created[:2]
			out["put"] = s.operation(v, p)
		case "patch":
			p.id, p.action, p.description, p.query, p.codes = "patch"+o.id, "patch", "partially update "+what, []reflect.Type{patchQuery}, created[:2]
			p.body, p.bodyTypes = of(reflect.TypeFor[metav1.Patch]()), patchTypes
			if o.custom {
				p.bodyTypes, p.codes = customPatchTypes, ok
			}
			out["patch"] = s.operation(v, p)
		case "delete":
			p.id, p.action, p.description, p.query = "delete"+o.id, "delete", "delete "+article(o.gvk.Kind), []reflect.Type{deleteQuery}
			p.body, p.answer, p.codes = of(deleteQuery), statusType, []string{"200", "202"}
			out["delete"] = s.operation(v, p)
		}
	}
	return out
}

// bodies are the Go types of subresources' bodies that are not in the scheme under the kind's own version.
var bodies = map[string]reflect.Type{
	"v1/Binding": reflect.TypeFor[core.Binding](), "policy/v1/Eviction": reflect.TypeFor[policy.Eviction](),
	"authentication.k8s.io/v1/TokenRequest": reflect.TypeFor[authentication.TokenRequest](),
}

func (s *schemas) sub(v version, r resource, name string, sub kinds.Sub) tree {
	i := strings.LastIndexByte(sub.GVK, '/')
	gv, _ := schema.ParseGroupVersion(sub.GVK[:i])
	gvk := gv.WithKind(sub.GVK[i+1:])
	id := name + upper(sub.Name)
	t := of(bodies[sub.GVK])
	if bodies[sub.GVK] == nil {
		t, _ = s.modelsOf(r)
	}
	if slices.Equal(sub.Verbs, []string{"create"}) {
		return tree{"post": s.operation(v, operation{
			id: "create" + id, action: "post", gvk: gvk, description: fmt.Sprintf("create %s of %s", sub.Name, article(r.gvk.Kind)),
			query: []reflect.Type{createQuery}, body: t, answer: t, codes: created,
		})}
	}
	return s.edit(v, operation{id: id, gvk: gvk, body: t, answer: t, description: sub.Name + " of "}, sub.Verbs)
}

const prettyText = "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or " +
	"command-line HTTP tool (curl and wget)."

// item is a path: its methods and the parameters that all of them have.
func (s *schemas) item(r resource, path string, ops tree) tree {
	var params []any
	if strings.Contains(path, "{name}") {
		params = append(params, s.parameter("name", "path", "string", "name of the "+r.gvk.Kind))
	}
	if strings.Contains(path, "{namespace}") {
		params = append(params, s.parameter("namespace", "path", "string", "object name and auth scope, such as for teams and projects"))
	}
	params = append(params, s.parameter("pretty", "query", "string", prettyText))
	params = append(params, hoist(ops)...)
	slices.SortFunc(params, byName)
	ops["parameters"] = params
	return ops
}

// hoist takes from operations the query parameters that all of them have.
func hoist(ops tree) (common []any) {
	count := map[string]int{}
	of := func(op any) []any { p, _ := op.(tree)["parameters"].([]any); return p }
	inQuery := func(p any) bool { return p.(tree)["in"] == "query" }
	for _, op := range ops {
		for _, p := range of(op) {
			if inQuery(p) {
				if count[nameOf(p)]++; count[nameOf(p)] == len(ops) {
					common = append(common, p)
				}
			}
		}
	}
	for _, op := range ops {
		own := slices.DeleteFunc(of(op), func(p any) bool { return inQuery(p) && count[nameOf(p)] == len(ops) })
		if len(own) == 0 {
			delete(op.(tree), "parameters")
		} else {
			op.(tree)["parameters"] = own
		}
	}
	return common
}

func nameOf(parameter any) string { return parameter.(tree)["name"].(string) }

func byName(a, b any) int { return strings.Compare(nameOf(a), nameOf(b)) }

func (s *schemas) parameter(name, in, kind, description string) tree {
	p := tree{"name": name, "in": in}
	if description != "" {
		p["description"] = description
	}
	if in == "path" {
		p["required"] = true
	}
	if s.v3 {
		p["schema"] = tree{"type": kind, "uniqueItems": true}
	} else {
		p["type"], p["uniqueItems"] = kind, true
	}
	return p
}

// query is the parameters that the fields of an options type make. Lists are given by repeating a parameter.
func (s *schemas) query(t reflect.Type) []any {
	var out []any
	text := docs(t)
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		ft := f.Type
		if ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		kind := ""
		switch ft.Kind() {
		case reflect.String:
			kind = "string"
		case reflect.Bool:
			kind = "boolean"
		case reflect.Int32, reflect.Int64:
			kind = "integer"
		}
		if f.Anonymous || name == "" || kind == "" {
			continue
		}
		out = append(out, s.parameter(name, "query", kind, text[name]))
	}
	return out
}

func (s *schemas) operation(v version, o operation) tree {
	out := tree{
		"operationId": o.id, "description": o.description, "tags": []string{v.tag()},
		"x-kubernetes-action": o.action, "x-kubernetes-group-version-kind": gvkTree(o.gvk),
	}
	var params []any
	seen := map[string]bool{}
	if o.action == "deletecollection" && !o.custom { // one cannot watch that
		seen["watch"], seen["allowWatchBookmarks"] = true, true
	}
	for _, t := range o.query {
		for _, p := range s.query(t) {
			if n := p.(tree)["name"].(string); !seen[n] {
				seen[n] = true
				params = append(params, p)
			}
		}
	}
	slices.SortFunc(params, byName)
	types, answers := o.bodyTypes, answerTypes
	if o.custom { // no protobuf
		answers = answerTypes[:2]
	}
	if types == nil {
		types = []string{"*/*"}
		if o.custom {
			types = answers
		}
	}
	if o.body != (model{}) {
		if s.v3 {
			body := tree{"content": s.content(types, o.body)}
			if o.action != "delete" && o.action != "deletecollection" {
				body["required"] = true
			}
			out["requestBody"] = body
		} else {
			params = append(params, tree{"name": "body", "in": "body", "required": o.action != "delete", "schema": s.use(o.body)})
		}
	}
	if !s.v3 {
		out["consumes"], out["produces"], out["schemes"] = types, answers, []string{"https"}
	}
	if params != nil {
		out["parameters"] = params
	}
	if o.action == "list" && !o.custom {
		answers = append(slices.Clone(answers), "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
		if !s.v3 {
			out["produces"] = answers
		}
	}
	responses := tree{"401": tree{"description": "Unauthorized"}}
	for _, code := range o.codes {
		responses[code] = s.response(code, o.answer, answers)
	}
	out["responses"] = responses
	return out
}

func (s *schemas) response(code string, t model, types []string) tree {
	out := tree{"description": map[string]string{"200": "OK", "201": "Created", "202": "Accepted"}[code]}
	switch {
	case s.v3 && t == (model{}):
		out["content"] = tree{"*/*": tree{"schema": tree{"type": "string"}}}
	case s.v3:
		out["content"] = s.content(types, t)
	case t == (model{}):
		out["schema"] = tree{"type": "string"}
	default:
		out["schema"] = s.use(t)
	}
	return out
}

func (s *schemas) content(types []string, t model) tree {
	out := tree{}
	for _, mediaType := range types {
		out[mediaType] = tree{"schema": s.use(t)}
	}
	return out
}

// listType is the Go type of a kind's list; kinds that are not in the scheme have none and are listed as any object.
func listType(gvk schema.GroupVersionKind) reflect.Type {
	gvk.Kind += "List"
	o, err := object.Scheme().New(gvk)
	if err != nil {
		return nil
	}
	return reflect.TypeOf(o).Elem()
}

func article(kind string) string {
	if strings.ContainsRune("AEIOU", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}

// listed describes a list.
func listed(r resource) string {
	if r.kind.Custom != nil || !slices.Contains(r.kind.Verbs, "watch") {
		return "list objects of kind " + r.gvk.Kind
	}
	return "list or watch objects of kind " + r.gvk.Kind
}
