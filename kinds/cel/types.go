package cel

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/traits"
	kcel "k8s.io/apiserver/pkg/cel"
)

var (
	text  = kcel.StringType
	texts = kcel.NewListType(kcel.StringType, -1)
)

// objectType is a type of CEL with named fields: those in must are always there.
func objectType(name string, must, may map[string]*kcel.DeclType) *kcel.DeclType {
	fields := map[string]*kcel.DeclField{}
	for n, t := range must {
		fields[n] = kcel.NewDeclField(n, t, true, nil, nil)
	}
	for n, t := range may {
		fields[n] = kcel.NewDeclField(n, t, false, nil, nil)
	}
	return kcel.NewObjectType(name, fields)
}

// requestType is what the variable request is: an AdmissionRequest without uid, object and oldObject.
func requestType() *kcel.DeclType {
	type fields = map[string]*kcel.DeclType
	kind := objectType("kubernetes.GroupVersionKind", fields{"group": text, "version": text, "kind": text}, nil)
	resource := objectType("kubernetes.GroupVersionResource", fields{"group": text, "version": text, "resource": text}, nil)
	return objectType("kubernetes.AdmissionRequest",
		fields{"kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource, "name": text, "operation": text, "userInfo": UserInfo()},
		fields{"subResource": text, "requestSubResource": text, "namespace": text, "dryRun": kcel.BoolType, "options": kcel.DynType})
}

// UserInfo is who asks.
func UserInfo() *kcel.DeclType {
	return objectType("kubernetes.UserInfo", nil,
		map[string]*kcel.DeclType{"username": text, "uid": text, "groups": texts, "extra": kcel.NewMapType(text, texts, -1)})
}

// namespaceType is what the variable namespaceObject is.
func namespaceType() *kcel.DeclType {
	type fields = map[string]*kcel.DeclType
	labels := kcel.NewMapType(text, text, -1)
	condition := objectType("kubernetes.NamespaceCondition",
		fields{"status": text, "type": text, "lastTransitionTime": kcel.TimestampType, "message": text, "reason": text}, nil)
	meta := objectType("kubernetes.NamespaceMetadata", fields{"name": text, "generateName": text, "namespace": text, "labels": labels, "annotations": labels,
		"UID": text, "creationTimestamp": kcel.TimestampType, "deletionGracePeriodSeconds": kcel.IntType, "deletionTimestamp": kcel.TimestampType,
		"generation": kcel.IntType, "resourceVersion": text, "finalizers": texts}, nil)
	return objectType("kubernetes.Namespace", fields{
		"metadata": meta,
		"spec":     objectType("kubernetes.NamespaceSpec", fields{"finalizers": texts}, nil),
		"status":   objectType("kubernetes.NamespaceStatus", fields{"conditions": kcel.NewListType(condition, -1), "phase": text}, nil),
	}, nil)
}

// declared is a type that an expression evaluates to as the type of a variable.
func declared(t *cel.Type) *kcel.DeclType {
	switch t {
	case nil:
		return kcel.DynType
	case cel.AnyType:
		return kcel.AnyType
	case cel.BoolType:
		return kcel.BoolType
	case cel.BytesType:
		return kcel.BytesType
	case cel.DoubleType:
		return kcel.DoubleType
	case cel.DurationType:
		return kcel.DurationType
	case cel.IntType:
		return kcel.IntType
	case cel.NullType:
		return kcel.NullType
	case cel.StringType:
		return kcel.StringType
	case cel.TimestampType:
		return kcel.TimestampType
	case cel.UintType:
		return kcel.UintType
	}
	if t.HasTrait(traits.ContainerType) && t.HasTrait(traits.IndexerType) {
		switch of := t.Parameters(); len(of) {
		case 1:
			return kcel.NewListType(declared(of[0]), -1)
		case 2:
			return kcel.NewMapType(declared(of[0]), declared(of[1]), -1)
		}
	}
	return kcel.DynType
}
