package job

import (
	"fmt"
	"slices"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
)

// matchFailurePolicy finds the first rule of the pod failure policy that p matches (KEP-3329). counts says whether the failure counts
// against the limits; message is why the Job fails for it, with the action FailJob.
func matchFailurePolicy(job *batch.Job, p *core.Pod) (message string, counts bool, action batch.PodFailurePolicyAction) {
	if job.Spec.PodFailurePolicy == nil {
		return "", true, ""
	}
	for i, rule := range job.Spec.PodFailurePolicy.Rules {
		what := ""
		switch {
		case rule.OnExitCodes != nil:
			if c := matchExitCode(p, rule.OnExitCodes); c != nil {
				what = fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v", c.Name, p.Namespace, p.Name, c.State.Terminated.ExitCode)
			}
		case rule.OnPodConditions != nil:
			if c := matchCondition(p, rule.OnPodConditions); c != nil {
				what = fmt.Sprintf("Pod %s/%s has condition %v", p.Namespace, p.Name, c.Type)
			}
		}
		if what == "" {
			continue
		}
		return fmt.Sprintf("%s matching %v rule at index %d", what, rule.Action, i), rule.Action != batch.PodFailurePolicyActionIgnore, rule.Action
	}
	return "", true, ""
}

func matchExitCode(p *core.Pod, want *batch.PodFailurePolicyOnExitCodesRequirement) *core.ContainerStatus {
	for _, list := range [][]core.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
		for i := range list {
			c := &list[i]
			if c.State.Terminated == nil || c.State.Terminated.ExitCode == 0 || want.ContainerName != nil && *want.ContainerName != c.Name {
				continue
			}
			in := slices.Contains(want.Values, c.State.Terminated.ExitCode)
			if in == (want.Operator == batch.PodFailurePolicyOnExitCodesOpIn) {
				return c
			}
		}
	}
	return nil
}

func matchCondition(p *core.Pod, want []batch.PodFailurePolicyOnPodConditionsPattern) *core.PodCondition {
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		for _, w := range want {
			if c.Type == w.Type && c.Status == w.Status {
				return c
			}
		}
	}
	return nil
}

// failurePolicyFailsJob says whether a failed pod matches a rule with the action FailJob.
func (t *turn) failurePolicyFailsJob() (message string, ok bool) {
	for _, p := range t.pods {
		if !hasFailed(t.job, p) {
			continue
		}
		if message, _, action := matchFailurePolicy(t.job, p); action == batch.PodFailurePolicyActionFailJob {
			return message, true
		}
	}
	return "", false
}

// matchSuccessPolicy finds the first rule of the success policy that the succeeded indexes meet (KEP-3998).
func matchSuccessPolicy(job *batch.Job, done intervals) (message string, ok bool) {
	if job.Spec.SuccessPolicy == nil || len(done) == 0 {
		return "", false
	}
	n := 0
	if job.Spec.Completions != nil {
		n = int(*job.Spec.Completions)
	}
	for i, rule := range job.Spec.SuccessPolicy.Rules {
		have := done.total()
		want := have + 1 // a rule without anything is never met
		if rule.SucceededIndexes != nil {
			named := parseIntervals(*rule.SucceededIndexes, n)
			have, want = 0, named.total()
			for _, iv := range named {
				for ix := iv[0]; ix <= iv[1]; ix++ {
					if done.has(ix) {
						have++
					}
				}
			}
		}
		if rule.SucceededCount != nil {
			want = int(*rule.SucceededCount)
		}
		if have >= want {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}
