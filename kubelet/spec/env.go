package spec

import (
	"fmt"
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Var is one environment variable.
type Var struct{ Name, Value string }

// Env is the environment of a container, without the image's: first the services that it can see, then envFrom, then env. A later
// variable of the same name replaces an earlier one. References in values see what stands before them.
func Env(n *Node, src EnvSources, pod *core.Pod, c *core.Container, podIPs []netip.Addr) ([]Var, error) {
	e := env{at: map[string]int{}}
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	for _, v := range ServiceEnv(src.Services, pod.Namespace, links) {
		e.set(v.Name, v.Value)
	}
	refs := &lookups{src: src, ns: pod.Namespace}
	for i := range c.EnvFrom {
		vars, err := envFrom(refs, &c.EnvFrom[i])
		if err != nil {
			return nil, err
		}
		for _, v := range vars {
			e.set(v.Name, v.Value)
		}
	}
	for i := range c.Env {
		v := &c.Env[i]
		if v.Value != "" || v.ValueFrom == nil {
			e.set(v.Name, Expand(v.Value, e.get))
			continue
		}
		value, ok, err := valueFrom(n, refs, pod, c, v.ValueFrom, podIPs)
		if err != nil {
			return nil, err
		}
		if ok {
			e.set(v.Name, value)
		}
	}
	return e.vars, nil
}

type env struct {
	vars []Var
	at   map[string]int
}

func (e *env) set(name, value string) {
	if i, ok := e.at[name]; ok {
		e.vars[i].Value = value
		return
	}
	e.at[name] = len(e.vars)
	e.vars = append(e.vars, Var{name, value})
}

func (e *env) get(name string) (string, bool) {
	if i, ok := e.at[name]; ok {
		return e.vars[i].Value, true
	}
	return "", false
}

// Lookup finds a variable in a list made by Env.
func Lookup(vars []Var) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := range vars {
			if vars[i].Name == name {
				return vars[i].Value, true
			}
		}
		return "", false
	}
}

// lookups are the objects of one namespace.
type lookups struct {
	src EnvSources
	ns  string
}

func (l *lookups) configMap(name string, optional *bool) (map[string]string, bool, error) {
	cm, err := l.src.ConfigMap(l.ns, name)
	if err != nil {
		return nil, false, unless(optional, err)
	}
	return cm.Data, true, nil
}

func (l *lookups) secret(name string, optional *bool) (map[string]string, bool, error) {
	s, err := l.src.Secret(l.ns, name)
	if err != nil {
		return nil, false, unless(optional, err)
	}
	data := make(map[string]string, len(s.Data))
	for k, v := range s.Data {
		data[k] = string(v)
	}
	return data, true, nil
}

// unless is err, but nil if the object is missing and may be.
func unless(optional *bool, err error) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func envFrom(refs *lookups, from *core.EnvFromSource) ([]Var, error) {
	var data map[string]string
	var err error
	switch {
	case from.ConfigMapRef != nil:
		data, _, err = refs.configMap(from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		data, _, err = refs.secret(from.SecretRef.Name, from.SecretRef.Optional)
	}
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(data))
	for k := range data {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	vars := make([]Var, len(keys))
	for i, k := range keys {
		vars[i] = Var{from.Prefix + k, data[k]}
	}
	return vars, nil
}

// valueFrom reads one source; ok is false where an optional key is missing.
func valueFrom(n *Node, refs *lookups, pod *core.Pod, c *core.Container, from *core.EnvVarSource, podIPs []netip.Addr) (string, bool, error) {
	switch {
	case from.FieldRef != nil:
		v, err := Field(n, pod, from.FieldRef.FieldPath, podIPs)
		return v, err == nil, err
	case from.ResourceFieldRef != nil:
		of := c
		if name := from.ResourceFieldRef.ContainerName; name != "" && name != c.Name {
			if of, _ = FindContainer(pod, name); of == nil {
				return "", false, fmt.Errorf("container %s not found", name)
			}
		}
		v, err := ResourceField(n, pod, of, from.ResourceFieldRef)
		return v, err == nil, err
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		data, found, err := refs.configMap(r.Name, r.Optional)
		return key(data, found, err, r.Key, r.Optional, "ConfigMap "+refs.ns+"/"+r.Name)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		data, found, err := refs.secret(r.Name, r.Optional)
		return key(data, found, err, r.Key, r.Optional, "Secret "+refs.ns+"/"+r.Name)
	case from.FileKeyRef != nil:
		return fromFile(refs.src, pod, from.FileKeyRef)
	}
	return "", true, nil
}

func key(data map[string]string, found bool, err error, k string, optional *bool, where string) (string, bool, error) {
	if err != nil || !found {
		return "", false, err
	}
	v, ok := data[k]
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("couldn't find key %s in %s", k, where)
	}
	return v, ok, nil
}
