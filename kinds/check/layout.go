package check

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/diff"
)

// Diff shows how b differs from a, for people.
func Diff(a, b any) string { return diff.Diff(Plain(a), Plain(b)) }

// member is one field as it is shown.
type member struct {
	name   string
	value  reflect.Value
	inline bool
}

// layout is the fields of a struct in the order in which they are shown.
func layout(v reflect.Value) []member {
	var out []member
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && !newer[f.Name] {
			out = append(out, member{f.Name, v.Field(i), f.Anonymous})
		}
	}
	switch s := v.Interface().(type) {
	case core.PodSpec:
		return podSpec(s, out)
	case core.VolumeSource:
		return after(out, "RBD", "Quobyte", "FlexVolume", "Cinder", "CephFS", "Flocker", "DownwardAPI", "FC", "AzureFile", "ConfigMap", "VsphereVolume")
	case core.PersistentVolumeSource:
		return after(out, "RBD", "Quobyte", "ISCSI", "FlexVolume", "Cinder", "CephFS", "FC", "Flocker", "AzureFile", "VsphereVolume")
	}
	return out
}

// after puts the named fields, in this order, after first.
func after(all []member, first string, names ...string) []member {
	rest := slices.DeleteFunc(slices.Clone(all), func(m member) bool { return slices.Contains(names, m.name) })
	var moved []member
	for _, n := range names {
		if i := slices.IndexFunc(all, func(m member) bool { return m.name == n }); i >= 0 {
			moved = append(moved, all[i])
		}
	}
	at := slices.IndexFunc(rest, func(m member) bool { return m.name == first })
	return slices.Insert(rest, at+1, moved...)
}

// podSpec has what a pod shares with its host in the security context, and no second name of the service account.
func podSpec(s core.PodSpec, all []member) []member {
	host := []string{"HostNetwork", "HostPID", "HostIPC", "ShareProcessNamespace", "HostUsers"}
	security := core.PodSecurityContext{}
	if s.SecurityContext != nil {
		security = *s.SecurityContext
	}
	var context []member
	for _, n := range host {
		context = append(context, all[slices.IndexFunc(all, func(m member) bool { return m.name == n })])
	}
	context = append(context, layout(reflect.ValueOf(security))...)
	context = after(context, "FSGroup", "FSGroupChangePolicy")
	out := slices.DeleteFunc(all, func(m member) bool { return m.name == "DeprecatedServiceAccount" || slices.Contains(host, m.name) })
	for i := range out {
		if out[i].name == "SecurityContext" {
			out[i].value = reflect.ValueOf(members(context))
		}
	}
	out = after(out, "Subdomain", "SetHostnameAsFQDN")
	out = after(out, "Priority", "PreemptionPolicy")
	return after(out, "RuntimeClassName", "Overhead")
}

// members is an object made of fields.
type members []member

// MarshalJSON implements json.Marshaler.
func (m members) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:", f.name)
		if err := writePlain(&b, f.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
