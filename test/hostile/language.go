package hostile

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
)

// words are what a selector is put together from; some are no part of the language.
var words = []string{"a", "app", "b/c", "metadata.name", "spec.nodeName", "status.phase", "=", "==", "!=", " in ", " notin ", "(", ")", ",", ",", "!", ">", "<", "1", "-1", " ", "\\", "\\,", "x,y", "\x00", "é", "..", "A_b-",
	strings.Repeat("l", 64), "k8s.io/" + strings.Repeat("m", 70)}

// selector is a query of a label or field selector.
func selector(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(3) == 0 { // nearly right
		for range 1 + r.IntN(4) {
			b.WriteString(pick(r, words[:6]) + pick(r, words[6:11]) + pick(r, words) + ",")
		}
	} else {
		for range r.IntN(12) {
			b.WriteString(pick(r, words))
		}
	}
	return pick(r, []string{"labelSelector=", "fieldSelector="}) + url.QueryEscape(b.String())
}

// token is a query with something like a continue token.
func token(r *rand.Rand) string {
	t := map[string]any{"v": pick(r, []any{"meta.k8s.io/v1", "meta.k8s.io/v2", 1, nil}), "rv": pick(r, []any{1, 5, -1, 0, 1 << 60, "1", nil, 1e30}),
		"start": pick(r, []any{"a", "", "../x", "default/a", "default/\x00", "/", strings.Repeat("s", 5000), "\xff", 7})}
	text, _ := json.Marshal(t)
	if r.IntN(3) == 0 {
		text = damage(r, text)
	}
	coded := pick(r, []*base64.Encoding{base64.RawURLEncoding, base64.RawURLEncoding, base64.StdEncoding, base64.URLEncoding}).EncodeToString(text)
	if r.IntN(6) == 0 {
		coded = string(damage(r, []byte(coded)))
	}
	return pick(r, []string{"limit=1&", "limit=500&", "", "limit=0&resourceVersion=1&", "watch=1&"}) + "continue=" + url.QueryEscape(coded)
}

var (
	celAtoms = []string{"self", "oldSelf", "object", "oldObject", "request", "params", "namespaceObject", "variables.v", "authorizer", "self.a", "self.?a", "object.metadata.name", "object.spec.x", "request.userInfo.groups",
		"1", "-1", "9223372036854775807", "18446744073709551615u", "1.5", "1e308", "'a'", "'(a*)*b'", "b'\\xff'", "null", "true", "[]", "{}", "[1,2,3]", "{'a': 1}", "''", "r'\\d'", "'\\u0000'", "x", "size", "type", "int",
		"Object{}", "Object{spec: Object.spec{a: 1}}", "JSONPatch{op: 'add', path: '/a', value: 1}", "[[1],[2]]", "self.items", "'" + strings.Repeat("a", 300) + "'", "duration('1h')", "timestamp('2020-01-01T00:00:00Z')", "/", "self[", "%"}
	celCalls = []string{".size()", ".matches('(a*)*b')", ".all(x, x > 0)", ".exists(x, x == self)", ".exists_one(x, true)", ".map(x, x + x)", ".map(x, x, [x, x])", ".filter(x, size(x) > 1)", ".startsWith('a')", ".contains('b')",
		".split('')", ".join(',')", ".replace('a', 'aaaa')", ".lowerAscii()", ".find('[0-9]+')", ".findAll('a*', 9)", ".sum()", ".min()", ".sort()", ".indexOf('a')", ".isSorted()", ".substring(1, 99)", ".format([1, 'a'])", ".a.b.c", ".orValue(1)",
		"[0]", "[-1]", "['a']", ".group('').resource('pods').check('get').allowed()", ".getHours()", ".transformList(i, v, v)", ".charAt(5)", ".trim()", ".reverse()"}
	celFuncs = []string{"size", "has", "int", "uint", "double", "string", "bytes", "bool", "duration", "timestamp", "quantity", "isQuantity", "url", "isURL", "ip", "isIP", "cidr", "semver", "type", "dyn", "sets.contains", "optional.of", "format.named",
		"lists.range", "math.greatest", "cel.bind", "jsonpatch.escapeKey"}
	celOps = []string{" + ", " - ", " * ", " / ", " % ", " == ", " != ", " < ", " >= ", " && ", " || ", " in ", " ? ", " : "}
)

// expression is something like a CEL expression.
func expression(r *rand.Rand, depth int) string {
	if depth == 0 {
		return pick(r, celAtoms)
	}
	inner := func() string { return expression(r, depth-1) }
	switch r.IntN(9) {
	case 0:
		return pick(r, celAtoms)
	case 1, 2:
		return inner() + pick(r, celCalls)
	case 3:
		return pick(r, celFuncs) + "(" + inner() + ")"
	case 4, 5:
		return inner() + pick(r, celOps) + inner()
	case 6:
		return inner() + " ? " + inner() + " : " + inner()
	case 7:
		return inner() + ".all(y, " + inner() + ".exists(z, " + inner() + "))"
	}
	return pick(r, []string{"(", "!", "-", "[", "{'k': ", "((((", ""}) + inner() + pick(r, []string{")", "", "]", "}", "))))"})
}

// lawful is an expression that a rule may have; half the time one that is right.
func lawful(r *rand.Rand) string {
	if r.IntN(2) == 0 {
		return pick(r, []string{"true", "has(self.a)", "self.items.all(x, x.size() < 9)", "self == oldSelf", "self.map(x, x).size() > 0", "object.metadata.name != 'z'", "variables.v == 1", "string(object.data.a).matches('(a*)*$')",
			"object.data.all(k, object.data.all(l, k + l != ''))", "request.operation == 'CREATE' || oldObject != null", "1/0 == 1", "object.nope.nope == 1"})
	}
	return expression(r, r.IntN(5))
}

// jsonSchema is something like the schema of a custom resource.
func jsonSchema(r *rand.Rand, depth int) map[string]any {
	s := map[string]any{"type": pick(r, []any{"object", "object", "object", "array", "string", "integer", "number", "boolean", "null", nil, "file"})}
	if s["type"] == "object" && depth > 0 {
		p := map[string]any{}
		for range r.IntN(4) {
			p[pick(r, []string{"a", "b", "items", "x-y", "", "$ref", "namespace", "self"})] = jsonSchema(r, depth-1)
		}
		s["properties"] = p
	}
	if s["type"] == "array" || r.IntN(20) == 0 {
		s["items"] = pick(r, []any{jsonSchema(r, max(0, depth-1)), map[string]any{"type": "string", "maxLength": 9}, []any{}})
	}
	for range r.IntN(4) {
		switch r.IntN(9) {
		case 0:
			s["default"] = pick(r, values)
		case 1:
			s[pick(r, []string{"maxLength", "minItems", "maximum", "multipleOf", "maxProperties", "minLength"})] = pick(r, []any{0, 1, -1, 1e18, "x", 0.1})
		case 2:
			s["pattern"] = pick(r, []any{"(a*)*b", "[", "^a{1,1000}{1,1000}$", "(?=a)", ".*", strings.Repeat("(a|", 200)})
		case 3:
			s["format"] = pick(r, []any{"date-time", "ipv4", "int32", "byte", "uri", "nope", "duration", "k8s-short-name"})
		case 4:
			s[pick(r, []string{"x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "nullable", "uniqueItems", "additionalProperties"})] = pick(r, []any{true, true, false, "x", map[string]any{"type": "string"}})
		case 5:
			s["x-kubernetes-list-type"], s["x-kubernetes-list-map-keys"] = pick(r, []any{"map", "set", "atomic", "x"}), pick(r, []any{[]any{"a"}, []any{}, nil})
		case 6:
			s[pick(r, []string{"allOf", "anyOf", "oneOf"})] = []any{jsonSchema(r, 0), jsonSchema(r, 0)}
		case 7:
			s["enum"] = []any{pick(r, values), pick(r, values)}
		default:
			s["x-kubernetes-validations"] = []any{map[string]any{"rule": lawful(r), "message": pick(r, []any{"m", "", "a\nb", nil}), "messageExpression": pick(r, []any{nil, "'a'", lawful(r)}), "fieldPath": pick(r, []any{nil, ".a", "..", "['a']", ".a[0]"}),
				"reason": pick(r, []any{nil, "FieldValueInvalid", "X"}), "optionalOldSelf": pick(r, []any{nil, true})}}
		}
	}
	return s
}

// definition is a CustomResourceDefinition: one of four names.
func definition(r *rand.Rand) (name string, tree map[string]any) {
	kind := fmt.Sprintf("h%d", r.IntN(4))
	version := func(name string, stored bool) map[string]any {
		root := jsonSchema(r, 4)
		if r.IntN(3) > 0 {
			root["type"] = "object"
		}
		v := map[string]any{"name": name, "served": true, "storage": stored, "schema": map[string]any{"openAPIV3Schema": root}}
		if r.IntN(4) == 0 {
			v["subresources"] = map[string]any{"status": map[string]any{}, "scale": map[string]any{"specReplicasPath": pick(r, []any{".spec.a", ".spec", "[0]", ".spec.a[*]"}), "statusReplicasPath": ".status.a"}}
		}
		if r.IntN(4) == 0 {
			v["additionalPrinterColumns"] = []any{map[string]any{"name": "N", "type": pick(r, []any{"string", "date", "integer", "x"}), "jsonPath": pick(r, []any{".spec.a", ".a[?(@.b==1)]", "..", ".[", "{range", ".a[5:1:0]"})}}
		}
		if r.IntN(6) == 0 {
			v["selectableFields"] = []any{map[string]any{"jsonPath": pick(r, []any{".a", ".spec.a", ".metadata.name", "", "..", ".a[0]"})}}
		}
		return v
	}
	versions := []any{version("v1", true)}
	if r.IntN(3) == 0 {
		versions = append(versions, version(pick(r, []string{"v2", "v1", "V", "v1beta1"}), r.IntN(8) == 0))
	}
	name = kind + "s.hostile.example"
	return name, map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": name}, "spec": map[string]any{
		"group": "hostile.example", "scope": "Namespaced", "versions": versions, "names": map[string]any{"plural": kind + "s", "singular": kind, "kind": "H" + kind[1:], "listKind": "H" + kind[1:] + "List"}}}
}

// rules are an admission policy, or its binding, that looks at ConfigMaps and refuses none: one of four names.
func rules(r *rand.Rand) (resource, name string, tree map[string]any) {
	name = fmt.Sprintf("p%d", r.IntN(4))
	kind := pick(r, []string{"ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"})
	tree = map[string]any{"apiVersion": "admissionregistration.k8s.io/v1", "metadata": map[string]any{"name": name}}
	if r.IntN(3) == 0 {
		spec := map[string]any{"policyName": name}
		if kind[0] == 'V' {
			spec["validationActions"] = []any{pick(r, []string{"Warn", "Audit"})}
		}
		tree["kind"], tree["spec"] = kind+"Binding", spec
		return map[string]string{"V": "validatingadmissionpolicybindings", "M": "mutatingadmissionpolicybindings"}[kind[:1]], name, tree
	}
	spec := map[string]any{"failurePolicy": "Ignore", "matchConstraints": map[string]any{"resourceRules": []any{map[string]any{"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "operations": []any{"CREATE", "UPDATE"}, "resources": []any{"configmaps"}}}},
		"variables": []any{map[string]any{"name": "v", "expression": lawful(r)}}}
	if r.IntN(4) == 0 {
		spec["matchConditions"] = []any{map[string]any{"name": "c", "expression": lawful(r)}}
	}
	if kind[0] == 'V' {
		spec["validations"] = []any{map[string]any{"expression": lawful(r), "messageExpression": lawful(r)}}
		spec["auditAnnotations"] = []any{map[string]any{"key": "k", "valueExpression": lawful(r)}}
	} else {
		spec["reinvocationPolicy"] = pick(r, []any{"Never", "IfNeeded"})
		spec["mutations"] = []any{pick(r, []any{
			map[string]any{"patchType": "ApplyConfiguration", "applyConfiguration": map[string]any{"expression": pick(r, []string{"Object{data: {'x': 'y'}}", "Object{}", lawful(r)})}},
			map[string]any{"patchType": "JSONPatch", "jsonPatch": map[string]any{"expression": pick(r, []string{"[JSONPatch{op: 'add', path: '/data/x', value: 'y'}]", "[]", lawful(r)})}}})}
	}
	tree["kind"], tree["spec"] = kind, spec
	return map[string]string{"V": "validatingadmissionpolicies", "M": "mutatingadmissionpolicies"}[kind[:1]], name, tree
}
