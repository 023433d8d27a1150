package batch

import (
	"fmt"

	batch "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/core/podwarn"
)

func warnJob(j, old *batch.Job) (out []string) {
	if old == nil {
		out = podwarn.Name("", j.Name)
	}
	if old == nil || j.Generation != old.Generation {
		out = append(out, warnSpec(specPath, &j.Spec)...)
	}
	return out
}

func warnCronJob(c, old *batch.CronJob) (out []string) {
	if old == nil {
		out = podwarn.Name("", c.Name)
	}
	if old == nil || c.Generation != old.Generation {
		out = append(out, warnSpec(specPath.Child("jobTemplate", "spec"), &c.Spec.JobTemplate.Spec)...)
	}
	return out
}

func warnSpec(p *field.Path, s *batch.JobSpec) (out []string) {
	if indexed(s) && ptr.Deref(s.Completions, 0) > manyCompletions && ptr.Deref(s.Parallelism, 0) > maxOfMany {
		out = append(out, fmt.Sprintf("%s: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "+
			"Kubernetes might not be able to track completedIndexes when a big number of indexes fail", p))
	}
	return append(out, podwarn.Template(p.Child("template"), &s.Template)...)
}
