package podsecurity

import (
	"fmt"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// Bounds of the look at the pods that there are, when the level of their namespace changes.
const (
	mostPods = 3000
	longest  = time.Second
)

// refused tells which of the pods a level would refuse, and why: one line for each reason.
func refused(checks policy.Evaluator, namespace string, lv api.LevelVersion, pods []*core.Pod) (out []string) {
	type group struct {
		first string
		count int
	}
	groups := map[string]*group{}
	all, end := differentFirst(pods), time.Now().Add(longest)
	looked := min(len(all), mostPods)
	for i, p := range all[:looked] {
		if why := judge(checks, lv, &p.ObjectMeta, &p.Spec); !why.Allowed {
			g := groups[why.ForbiddenReason()]
			if g == nil {
				g = &group{first: p.Name}
				groups[why.ForbiddenReason()] = g
			}
			g.first = min(g.first, p.Name)
			g.count++
		}
		if time.Now().After(end) {
			looked = i + 1
			break
		}
	}
	if looked < len(all) {
		out = append(out, fmt.Sprintf("new PodSecurity enforce level only checked against the first %d of %d existing pods", looked, len(all)))
	}
	if len(groups) == 0 {
		return out
	}
	out = append(out, fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", namespace, lv.String()))
	var lines []string
	for why, g := range groups {
		switch g.count {
		case 1:
			lines = append(lines, g.first+": "+why)
		case 2:
			lines = append(lines, g.first+" (and 1 other pod): "+why)
		default:
			lines = append(lines, fmt.Sprintf("%s (and %d other pods): %s", g.first, g.count-1, why))
		}
	}
	slices.Sort(lines)
	return append(out, lines...)
}

// differentFirst puts the second and further pods of the same controller last: they are likely alike.
func differentFirst(pods []*core.Pod) []*core.Pod {
	var first, rest []*core.Pod
	seen := map[types.UID]bool{}
	for _, p := range pods {
		ref := metav1.GetControllerOfNoCopy(p)
		if ref != nil && seen[ref.UID] {
			rest = append(rest, p)
			continue
		}
		if ref != nil {
			seen[ref.UID] = true
		}
		first = append(first, p)
	}
	return append(first, rest...)
}
