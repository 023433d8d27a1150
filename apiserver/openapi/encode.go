package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	authentication "k8s.io/api/authentication/v1"
	autoscaling "k8s.io/api/autoscaling/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/openapi/markers"
)

// served is the version of the API that is described.
const served = "1.37"

// token is how clients identify themselves.
var token = tree{"BearerToken": tree{
	"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
}}

// encodeV3 makes the OpenAPI 3.0 document of one version.
func encodeV3(v version, protobuf bool) ([]byte, error) {
	s, paths, err := build([]version{v}, true)
	if err != nil {
		return nil, err
	}
	doc := tree{
		"openapi":    "3.0.0",
		"info":       tree{"title": "Kubernetes", "version": served},
		"paths":      paths,
		"components": tree{"schemas": s.out, "securitySchemes": token},
	}
	if v.custom() {
		doc["info"], doc["components"] = tree{"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}, tree{"schemas": s.out}
	}
	plain, err := json.Marshal(doc)
	if err != nil || !protobuf {
		return plain, err
	}
	d, err := openapiv3.ParseDocument(plain)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", v.path, err)
	}
	return proto.Marshal(d)
}

// encodeV2 makes the Swagger 2.0 document of all versions, and of what merge adds.
func encodeV2(all []version, protobuf bool, merge func(tree)) ([]byte, error) {
	s, paths, err := build(all, false)
	if err != nil {
		return nil, err
	}
	doc := tree{
		"swagger":             "2.0",
		"info":                tree{"title": "Kubernetes", "version": served},
		"paths":               paths,
		"definitions":         s.out,
		"securityDefinitions": token,
		"security":            []any{tree{"BearerToken": []any{}}},
	}
	merge(doc)
	plain, err := json.Marshal(doc)
	if err != nil || !protobuf {
		return plain, err
	}
	d, err := openapiv2.ParseDocument(plain)
	if err != nil {
		return nil, fmt.Errorf("convert to protobuf: %w", err)
	}
	return proto.Marshal(d)
}

func build(versions []version, v3 bool) (*schemas, tree, error) {
	marks, err := markers.Load()
	if err != nil {
		return nil, nil, err
	}
	s := &schemas{v3: v3, marks: marks, out: tree{}, gvks: map[reflect.Type][]schema.GroupVersionKind{}}
	s.name(metav1.DeleteOptions{}, schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"})
	s.name(metav1.APIResourceList{}, schema.GroupVersionKind{Version: "v1", Kind: "APIResourceList"})
	s.name(metav1.APIVersions{}, schema.GroupVersionKind{Version: "v1", Kind: "APIVersions"})
	s.name(metav1.APIGroupList{}, schema.GroupVersionKind{Version: "v1", Kind: "APIGroupList"})
	s.name(metav1.APIGroup{}, schema.GroupVersionKind{Version: "v1", Kind: "APIGroup"})
	s.name(autoscaling.Scale{}, autoscaling.SchemeGroupVersion.WithKind("Scale"))
	s.name(authentication.TokenRequest{}, authentication.SchemeGroupVersion.WithKind("TokenRequest"))
	s.name(core.PersistentVolumeClaim{}, core.SchemeGroupVersion.WithKind("PersistentVolumeClaim"))
	s.name(metav1.Status{}, schema.GroupVersionKind{Version: "v1", Kind: "Status"})
	for _, v := range versions {
		if v.root != nil {
			continue
		}
		s.name(metav1.DeleteOptions{}, v.WithKind("DeleteOptions"))
		for _, r := range v.resources {
			if r.kind.Custom != nil {
				continue
			}
			s.name(reflect.ValueOf(r.new()).Elem().Interface(), r.gvk)
			if t := listType(r.gvk); t != nil {
				s.gvks[t] = []schema.GroupVersionKind{r.gvk.GroupVersion().WithKind(r.gvk.Kind + "List")}
			}
		}
	}
	paths := tree{}
	for _, v := range versions {
		if v.root != nil {
			s.addAbout(v, paths)
			continue
		}
		if !v.custom() {
			s.addRoot(v, paths)
		}
		for _, r := range v.resources {
			s.addPaths(v, r, paths)
		}
	}
	return s, paths, nil
}

// name says that the type of o is served as gvk.
func (s *schemas) name(o any, gvk schema.GroupVersionKind) {
	t := reflect.TypeOf(o)
	for _, g := range s.gvks[t] {
		if g == gvk {
			return
		}
	}
	s.gvks[t] = append(s.gvks[t], gvk)
}
