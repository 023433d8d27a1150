package cel

import (
	"context"
	"testing"
	"time"
)

// Whatever an expression says, it is compiled or refused, and evaluated within its budget and its time.
func FuzzExpression(f *testing.F) {
	for _, text := range []string{
		"object.spec.replicas <= int(params.data['max'])", "variables.v.all(x, x > 1)", "Object{spec: Object.spec{replicas: 1}}", "[JSONPatch{op: 'add', path: '/a', value: {'b': object}}]",
		"authorizer.group('').resource('pods').fieldSelector('a=b').check('get').reason()", "'%s %d %.3f'.format([object, 1, 2.0])", "quantity('1Gi').add(quantity('1')).compareTo(quantity('-1e3'))",
		"lists.range(100000).map(x, lists.range(100000).map(y, [x, y]))", "'a'.replace('', 'aaaaaaaaaaaa').replace('', 'bbbbbbbbbbbbbb').replace('', 'ccc')", "object.metadata.labels.transformMap(k, v, v + k)",
		"semver('1.2.3').compareTo(semver('1.2.3-a'))", "ip('::ffff:1.2.3.4').family() == cidr('10.0.0.0/8').ip().family()", "url('http://[::1]:80/a?b=c').getQuery()", "timestamp('9999-12-31T23:59:59Z') + duration('9999h')",
		"'x'.matches('(a+)+$')", "b'\\xff'.size() + string(bytes('é')).size()", "dyn([1, 'a']).exists(x, x == 1.0)", "has(object.?spec.?x) || optional.of(object).orValue(1) == 1", "[[[[[[[[[[]]]]]]]]]]", "-9223372036854775808 - 1", "1 / 0",
		"object.spec.template.spec.containers.map(c, c.resources.limits).flatten().sort()", "namespaceObject.metadata.creationTimestamp.getFullYear()",
	} {
		f.Add(text)
	}
	in := input()
	vars := Vars{Params: true, Authorizer: true, Patches: true}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return
		}
		c := NewCompiler(Stored)
		c.Define("v", "[1, 2, 3]", vars)
		e := c.Compile(text, vars, Anything)
		if e.Err != nil {
			if e.Err.Detail == "" {
				t.Error("refused without a reason")
			}
			return
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // as a request has, with more time
		defer cancel()
		s := NewScope(ctx, c, in, Budget)
		out, bad, fatal := s.Eval(&e)
		if (out != nil) == (bad != nil || fatal != nil) {
			t.Errorf("%v, %v, %v: neither a value nor an error, or both", out, bad, fatal)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
