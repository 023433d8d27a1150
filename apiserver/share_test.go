package apiserver_test

import (
	"net/http"
	"slices"
	"testing"

	flowcontrol "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/apitest"
	"proa.dev/client"
)

const fastLane = `
metadata: {name: fast}
spec: {type: Limited, limited: {nominalConcurrencyShares: 5, limitResponse: {type: Reject}}}
`

const fastUsers = `
metadata: {name: fast-users}
spec:
  priorityLevelConfiguration: {name: fast}
  matchingPrecedence: 50
  rules:
  - subjects: [{kind: User, user: {name: jane}}]
    nonResourceRules: [{verbs: ["*"], nonResourceURLs: ["*"]}]
`

func decode[T any](t *testing.T, text string) *T {
	t.Helper()
	o := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestSharesFromTheFirstRequest checks that a server that says that it is ready shares itself out by the objects that it has.
func TestSharesFromTheFirstRequest(t *testing.T) {
	dir := t.TempDir()
	s := apitest.StartIn(t, dir)
	level, err := client.Create(t.Context(), s.Client, decode[flowcontrol.PriorityLevelConfiguration](t, fastLane))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), s.Client, decode[flowcontrol.FlowSchema](t, fastUsers)); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s = apitest.StartIn(t, dir)
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer jane")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Kubernetes-Pf-Prioritylevel-Uid"); got != string(level.UID) {
		t.Errorf("the first request is of level %s, want %s", got, level.UID)
	}
}

// TestTableOfFlowSchemas checks that schemas are shown in the order in which they are asked.
func TestTableOfFlowSchemas(t *testing.T) {
	s := apitest.Start(t)
	var table metav1.Table
	getInto(t, s.URL+"/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", "application/json;as=Table;v=v1;g=meta.k8s.io", &table)
	if len(table.Rows) < 8 || len(table.ColumnDefinitions) != 6 {
		t.Fatalf("%d rows of %d columns", len(table.Rows), len(table.ColumnDefinitions))
	}
	if !slices.IsSortedFunc(table.Rows, func(a, b metav1.TableRow) int { return int(a.Cells[2].(float64) - b.Cells[2].(float64)) }) {
		t.Error("the rows are not in the order of their precedence")
	}
	if first, last := table.Rows[0].Cells[0], table.Rows[len(table.Rows)-1].Cells[0]; first != "exempt" || last != "catch-all" {
		t.Errorf("the first row is %v, the last one %v", first, last)
	}
}
