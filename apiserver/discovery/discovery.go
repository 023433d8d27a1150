package discovery

import (
	"encoding/json"
	"net/http"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kinds"
)

// handler answers below /api and /apis.
type handler struct {
	kinds   func() []*kinds.Kind
	remotes func() []Remote
}

// New is a handler for /api and /apis, with or without a slash at the end, and for what is below them down to a version.
// list is called for every request; the kinds that it returns are only read.
func New(list func() []*kinds.Kind) http.Handler {
	return NewMerged(list, func() []Remote { return nil })
}

// NewMerged is New that also shows what others serve. remotes is called for every request.
func NewMerged(list func() []*kinds.Kind, remotes func() []Remote) http.Handler {
	return handler{kinds: list, remotes: remotes}
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if r.Method != http.MethodGet && (path[0] == "api" || len(path) > 2) { // the others do not look at the method
		refuse(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "the server does not allow this method on the requested resource")
		return
	}
	form, ok := negotiate(r.Header.Get("Accept"))
	if !ok {
		refuse(w, http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
			"only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf")
		return
	}
	groups := tree(h.kinds(), h.remotes())
	switch {
	case path[0] == "api" && len(path) == 1:
		core, _ := find(groups, "")
		if form.aggregated {
			write(w, r, form, &apidiscovery.APIGroupDiscoveryList{Items: aggregate(core)})
			return
		}
		write(w, r, form, coreVersions(core, r.Host))
	case path[0] == "api" && len(path) == 2:
		writeResources(w, r, form, groups, "", path[1])
	case path[0] == "apis" && len(path) == 1:
		if form.aggregated {
			write(w, r, form, &apidiscovery.APIGroupDiscoveryList{Items: aggregate(named(groups)...)})
			return
		}
		write(w, r, form, groupList(named(groups)))
	case path[0] == "apis" && len(path) == 2:
		g, ok := find(groups, path[1])
		if !ok || g.name == "" {
			http.NotFound(w, r)
			return
		}
		out := describe(g)
		write(w, r, form, &out)
	case path[0] == "apis" && len(path) == 3:
		writeResources(w, r, form, groups, path[1], path[2])
	default:
		http.NotFound(w, r)
	}
}

func writeResources(w http.ResponseWriter, r *http.Request, form form, groups []group, name, version string) {
	g, _ := find(groups, name)
	for _, v := range g.versions {
		if v.name == version && v.remote == nil {
			write(w, r, form, &metav1.APIResourceList{GroupVersion: groupVersion(name, version), APIResources: resources(v)})
			return
		}
	}
	if name == "" || len(g.versions) > 0 && g.versions[0].remote == nil && isBuiltin(name) {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
		return
	}
	http.NotFound(w, r)
}

// refuse answers with a Status.
func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, text string) {
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("Cache-Control", "no-cache, private")
	st := metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: text}
	st.Kind, st.APIVersion = "Status", "v1"
	if code != http.StatusNotAcceptable {
		st.Details = &metav1.StatusDetails{}
	}
	b, err := json.Marshal(st)
	if err != nil {
		panic(err) // plain fields
	}
	w.WriteHeader(code)
	w.Write(append(b, '\n')) // the client may be gone; nobody else needs to know
}

func coreVersions(g group, host string) *metav1.APIVersions {
	out := &metav1.APIVersions{
		Versions:                   []string{},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: host}},
	}
	for _, v := range g.versions {
		out.Versions = append(out.Versions, v.name)
	}
	return out
}

func groupList(groups []group) *metav1.APIGroupList {
	out := &metav1.APIGroupList{Groups: []metav1.APIGroup{}}
	for _, g := range groups {
		out.Groups = append(out.Groups, describe(g))
	}
	return out
}

func describe(g group) metav1.APIGroup {
	out := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: groupVersion(g.name, v.name), Version: v.name})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

func groupVersion(group, version string) string {
	if group == "" {
		return version
	}
	return group + "/" + version
}
