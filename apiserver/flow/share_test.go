package flow

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	kinds "proa.dev/kinds/flowcontrol"
)

func TestDivideAsKubernetesDoes(t *testing.T) {
	var list []shared
	var names []string
	for _, l := range append(kinds.MandatoryLevels(), kinds.SuggestedLevels()...) {
		list = append(list, sharesOf(&l.Spec))
		names = append(names, l.Name)
	}
	got := map[string]limits{}
	for i, l := range divide(600, list) {
		got[names[i]] = l
	}
	want := map[string]limits{
		"catch-all": {13, 13, 613}, "exempt": {0, 0, 600}, "system": {74, 50, 674}, "node-high": {98, 73, 698}, "leader-election": {25, 25, 625},
		"workload-high": {98, 49, 698}, "workload-low": {245, 24, 845}, "global-default": {49, 24, 649},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(limits{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	few := divide(100, []shared{{shares: 10, borrows: ptr.To[int32](50)}})
	if few[0] != (limits{100, 100, 150}) {
		t.Errorf("a bound on borrowing: %+v", few)
	}
}

func TestAllocateKeepsBoundsAndSum(t *testing.T) {
	for _, tt := range []struct {
		total  float64
		wishes []wish
		want   []float64
	}{
		{10, []wish{{0, 100, 1}, {0, 100, 4}}, []float64{2, 8}},
		{10, []wish{{0, 3, 5}, {0, 100, 5}}, []float64{3, 7}},
		{10, []wish{{4, 100, 4}, {0, 100, 4}}, []float64{5, 5}},
		{6, []wish{{4, 100, 4}, {0, 100, 4}}, []float64{4, 2}},
		{10, []wish{{0, 2, 1}, {0, 3, 1}}, []float64{2, 3}},
		{1, []wish{{2, 9, 2}, {3, 9, 3}}, []float64{2, 3}},
		{10, []wish{{0, 100, 0}, {0, 100, 0}}, []float64{5, 5}},
	} {
		got := allocate(tt.total, tt.wishes)
		for i := range got {
			if math.Abs(got[i]-tt.want[i]) > 1e-6 {
				t.Errorf("allocate(%v, %v) = %v, want %v", tt.total, tt.wishes, got, tt.want)
				break
			}
		}
	}
}

func TestLevelsBorrowWhatOthersDoNotUse(t *testing.T) {
	parts := []part{
		{limits: limits{100, 50, 700}},                           // lends, and wants nothing
		{limits: limits{100, 100, 700}},                          // does not lend
		{limits: limits{100, 10, 700}, high: 400, smoothed: 400}, // wants much
		{limits: limits{100, 10, 120}, high: 400, smoothed: 400}, // wants much, and may not borrow much
		{limits: limits{0, 0, 600}, exempt: true, high: 7},       // takes what it needs
		{limits: limits{100, 10, 700}, high: 60, smoothed: 30},   // wants less than it owns
	}
	got := lend(parts)
	if got[4] != 7 || got[1] < 100 || got[0] < 50 || got[3] > 120 || got[2] < 100 || got[5] < 60 {
		t.Errorf("seats %v", got)
	}
	if got[2] <= got[0] {
		t.Errorf("who wants 400 has %d, who wants nothing %d", got[2], got[0])
	}
	sum := 0
	for _, n := range got {
		sum += n
	}
	if sum < 497 || sum > 503 {
		t.Errorf("%v is %d seats in all, want about 500", got, sum)
	}
}

func TestDemandRemembersPeaks(t *testing.T) {
	var d demand
	d.set(0, 10)
	d.set(5, 0)
	if high := d.period(10); high != 10 || math.Abs(d.smoothed-10) > 1e-9 { // mean 5, deviation 5
		t.Errorf("high %d smoothed %v", high, d.smoothed)
	}
	if high := d.period(20); high != 0 || math.Abs(d.smoothed-9.77) > 1e-9 {
		t.Errorf("an idle period later: high %d smoothed %v", high, d.smoothed)
	}
}
