package openapi

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kinds"
	"proa.dev/object"
)

// methodOf is the HTTP method of a verb.
var methodOf = map[string]string{"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}

// addConnect adds the paths of a subresource that streams, below that of the object.
func (s *schemas) addConnect(v version, r resource, name string, sub kinds.Sub, at tree) {
	i := strings.LastIndexByte(sub.GVK, '/')
	gv, _ := schema.ParseGroupVersion(sub.GVK[:i])
	gvk, path := gv.WithKind(sub.GVK[i+1:]), s.pathOf(v, r)+"/{name}"
	id := name + upper(sub.Name)
	if sub.Name == "log" { // is read like an object
		op := s.operation(v, operation{
			id: "read" + id, action: "get", gvk: gvk, description: "read log of the specified " + r.gvk.Kind, codes: ok,
			query: []reflect.Type{reflect.TypeFor[core.PodLogOptions]()},
		})
		if s.v3 {
			text := tree{}
			for _, mediaType := range append([]string{"text/plain"}, answerTypes...) {
				text[mediaType] = tree{"schema": tree{"type": "string"}}
			}
			op["responses"].(tree)["200"].(tree)["content"] = text
		} else {
			op["produces"] = append([]string{"text/plain"}, answerTypes...)
		}
		at[path+"/log"] = s.item(r, path, tree{"get": op})
		return
	}
	var query []reflect.Type
	if o, err := object.Scheme().New(gvk); err == nil {
		query = []reflect.Type{reflect.TypeOf(o).Elem()}
	}
	var methods []string
	for _, verb := range sub.Verbs {
		methods = append(methods, methodOf[verb])
	}
	ends := map[string]string{"": ""}
	if sub.Name == "proxy" {
		methods = append(methods, "head", "options")
		ends["/{path}"] = "WithPath"
	}
	about := r
	about.gvk = gvk // as Kubernetes calls the object here
	for end, suffix := range ends {
		ops := tree{}
		for _, method := range methods {
			ops[method] = s.operation(v, operation{
				id:     "connect" + strings.Replace(id, v.title(), v.title()+upper(method), 1) + suffix,
				action: "connect", gvk: gvk, query: query, codes: ok,
				description: fmt.Sprintf("connect %s requests to %s of %s", strings.ToUpper(method), sub.Name, r.gvk.Kind),
			})
		}
		item := s.item(about, path+"/"+sub.Name+end, ops)
		params := slices.DeleteFunc(item["parameters"].([]any), func(p any) bool { return nameOf(p) == "pretty" })
		if end != "" {
			params = append(params, s.parameter("path", "path", "string", "path to the resource"))
			slices.SortFunc(params, byPlace)
		}
		item["parameters"] = params
		at[path+"/"+sub.Name+end] = item
	}
}

// byPlace is byName, and in the path before in the query.
func byPlace(a, b any) int {
	if n := byName(a, b); n != 0 {
		return n
	}
	return strings.Compare(a.(tree)["in"].(string), b.(tree)["in"].(string))
}

// pathOf is where the objects of r are.
func (s *schemas) pathOf(v version, r resource) string {
	if r.kind.Namespaced {
		return "/" + v.path + "/namespaces/{namespace}/" + r.name
	}
	return "/" + v.path + "/" + r.name
}
