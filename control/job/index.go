package job

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"

	"proa.dev/control"
)

// intervals is a set of numbers as closed intervals in order, without overlaps. As text: "0,2-4,7".
type intervals [][2]int

// parseIntervals reads what String writes, leaving out what is not below limit. What does not parse is left out too: a status that
// somebody else wrote must not stop the Job.
func parseIntervals(s string, limit int) intervals {
	var nums [][2]int
	for part := range strings.SplitSeq(s, ",") {
		from, to, ok := strings.Cut(part, "-")
		if !ok {
			to = from
		}
		a, err := strconv.Atoi(from)
		if err != nil || a < 0 || a >= limit {
			continue
		}
		b, err := strconv.Atoi(to)
		if err != nil || b < a {
			continue
		}
		nums = append(nums, [2]int{a, min(b, limit-1)})
	}
	return normalise(nums)
}

func normalise(in [][2]int) intervals {
	slices.SortFunc(in, func(a, b [2]int) int { return cmp.Or(a[0]-b[0], a[1]-b[1]) })
	var out intervals
	for _, iv := range in {
		if n := len(out); n > 0 && iv[0] <= out[n-1][1]+1 {
			out[n-1][1] = max(out[n-1][1], iv[1])
			continue
		}
		out = append(out, iv)
	}
	return out
}

func (s intervals) with(nums []int) intervals {
	all := slices.Clone(s)
	for _, n := range nums {
		all = append(all, [2]int{n, n})
	}
	return normalise(all)
}

func (s intervals) total() (n int) {
	for _, iv := range s {
		n += iv[1] - iv[0] + 1
	}
	return n
}

func (s intervals) has(n int) bool {
	i, ok := slices.BinarySearchFunc(s, n, func(iv [2]int, n int) int { return iv[0] - n })
	return ok || i > 0 && s[i-1][1] >= n
}

func (s intervals) String() string {
	var parts []string
	for _, iv := range s {
		switch iv[1] - iv[0] {
		case 0:
			parts = append(parts, strconv.Itoa(iv[0]))
		case 1:
			parts = append(parts, strconv.Itoa(iv[0]), strconv.Itoa(iv[1]))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", iv[0], iv[1]))
		}
	}
	return strings.Join(parts, ",")
}

// indexOf is the completion index of p, or -1.
func indexOf(p *core.Pod) int {
	n, err := strconv.Atoi(p.Annotations[batch.JobCompletionIndexAnnotation])
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// lookAtIndexes works out which indexes have succeeded and failed.
func (t *turn) lookAtIndexes() {
	n := int(control.Or(t.job.Spec.Completions, 0))
	var done []int
	for _, p := range t.pods {
		if ix := indexOf(p); p.Status.Phase == core.PodSucceeded && ix >= 0 && ix < n && hasFinalizer(p) {
			done = append(done, ix)
		}
	}
	t.done = parseIntervals(t.status.CompletedIndexes, n).with(done)
	t.succeeded = int32(t.done.total())
	if !perIndex(t.job) {
		return
	}
	var failed []int
	for _, p := range t.pods {
		if ix := indexOf(p); ix >= 0 && ix < n && hasFailed(t.job, p) && t.failsIndex(p) {
			failed = append(failed, ix)
		}
	}
	t.failedIndexes = parseIntervals(control.Or(t.status.FailedIndexes, ""), n).with(failed)
	t.delayed = map[int]*core.Pod{}
	taken := map[int]bool{}
	for _, p := range t.active {
		taken[indexOf(p)] = true
	}
	for _, p := range t.newFailed {
		ix := indexOf(p)
		if ix < 0 || taken[ix] || t.done.has(ix) || t.failedIndexes.has(ix) {
			continue
		}
		if have := t.delayed[ix]; have == nil || allFailures(p) > allFailures(have) {
			t.delayed[ix] = p
		}
	}
}

// failsIndex says whether the failure of p is the last one its index may have.
func (t *turn) failsIndex(p *core.Pod) bool {
	_, counts, action := matchFailurePolicy(t.job, p)
	if action == batch.PodFailurePolicyActionFailIndex {
		return true
	}
	return counts && number(p, batch.JobIndexFailureCountAnnotation) >= int(*t.job.Spec.BackoffLimitPerIndex)
}

func number(p *core.Pod, annotation string) int {
	n, err := strconv.Atoi(p.Annotations[annotation])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// allFailures is how often the index of p failed before p, also where the failure policy said to ignore it.
func allFailures(p *core.Pod) int {
	return number(p, batch.JobIndexFailureCountAnnotation) + number(p, batch.JobIndexIgnoredFailureCountAnnotation)
}

// pendingIndexes is up to n indexes that need a pod now.
func (t *turn) pendingIndexes(n int) []int {
	skip := map[int]bool{}
	for _, p := range t.active {
		skip[indexOf(p)] = true
	}
	if onlyFailed(t.job) {
		for _, p := range t.pods {
			if p.DeletionTimestamp != nil && !control.Finished(p) {
				skip[indexOf(p)] = true
			}
		}
	}
	var out []int
	for ix := 0; ix < int(control.Or(t.job.Spec.Completions, 0)) && len(out) < n; ix++ {
		if skip[ix] || t.done.has(ix) || t.failedIndexes.has(ix) {
			continue
		}
		if p := t.delayed[ix]; p != nil {
			if wait := finishedAt(p, t.now).Add(backoff(allFailures(p) + 1)).Sub(t.now); wait > 0 {
				t.out.again = t.out.again.Sooner(control.Again(wait))
				continue
			}
		}
		out = append(out, ix)
	}
	return out
}

// newIndexedPod is the pod of an index: it knows its number from the environment, its host name, a label and an annotation.
func (t *turn) newIndexedPod(ix int) *core.Pod {
	p := t.newPod()
	value := strconv.Itoa(ix)
	p.GenerateName = control.NamePrefix(fmt.Sprintf("%s-%d", t.job.Name, ix))
	p.Spec.Hostname = fmt.Sprintf("%s-%d", t.job.Name, ix)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Labels[batch.JobCompletionIndexAnnotation] = value
	p.Annotations[batch.JobCompletionIndexAnnotation] = value
	if perIndex(t.job) {
		t.inheritFailures(p, t.delayed[ix])
	}
	for _, list := range [][]core.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			addIndexVariable(&list[i])
		}
	}
	return p
}

// inheritFailures counts the failures of an index on from those of the pod before.
func (t *turn) inheritFailures(p, before *core.Pod) {
	failures, ignored := 0, 0
	if before != nil {
		failures, ignored = number(before, batch.JobIndexFailureCountAnnotation), number(before, batch.JobIndexIgnoredFailureCountAnnotation)
		if _, counts, _ := matchFailurePolicy(t.job, before); counts {
			failures++
		} else {
			ignored++
		}
	}
	p.Annotations[batch.JobIndexFailureCountAnnotation] = strconv.Itoa(failures)
	if ignored > 0 {
		p.Annotations[batch.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(ignored)
	}
}

func addIndexVariable(c *core.Container) {
	const name = "JOB_COMPLETION_INDEX"
	if slices.ContainsFunc(c.Env, func(e core.EnvVar) bool { return e.Name == name }) {
		return
	}
	c.Env = append(c.Env, core.EnvVar{Name: name, ValueFrom: &core.EnvVarSource{FieldRef: &core.ObjectFieldSelector{
		APIVersion: "v1", FieldPath: fmt.Sprintf("metadata.labels['%s']", batch.JobCompletionIndexAnnotation),
	}}})
}

// duplicates splits active pods of an Indexed Job into those that are too many, for their index is not wanted or has another pod that is
// further on, and the rest.
func duplicates(active []*core.Pod, completions int) (rm, left []*core.Pod) {
	byIndex := map[int][]*core.Pod{}
	for _, p := range active {
		byIndex[indexOf(p)] = append(byIndex[indexOf(p)], p)
	}
	for ix, pods := range byIndex {
		if ix < 0 || ix >= completions {
			rm = append(rm, pods...)
			continue
		}
		sortForRemoval(pods)
		rm = append(rm, pods[:len(pods)-1]...)
		left = append(left, pods[len(pods)-1])
	}
	byName := func(a, b *core.Pod) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(rm, byName)
	slices.SortFunc(left, byName)
	return rm, left
}
