package batch

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batch "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/check"
)

// maxCronJobName leaves room for the number that each Job's name ends with.
const maxCronJobName = 52

// cronJobSpec checks a CronJob by itself, and a time zone where it is another one than that of old, which is nil for a new CronJob.
func cronJobSpec(c, old *batch.CronJob) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s := &c.Spec
		if s.Schedule == "" {
			e.Required(specPath.Child("schedule"), "")
		} else {
			schedule(e, c, old != nil && strings.Contains(old.Spec.Schedule, "TZ"))
		}
		check.NonNegativePtr(e, specPath.Child("startingDeadlineSeconds"), s.StartingDeadlineSeconds)
		if old == nil || !ptr.Equal(s.TimeZone, old.Spec.TimeZone) {
			timeZone(e, specPath.Child("timeZone"), s.TimeZone)
		}
		check.OneOfRequired(e, specPath.Child("concurrencyPolicy"), s.ConcurrencyPolicy,
			batch.AllowConcurrent, batch.ForbidConcurrent, batch.ReplaceConcurrent)
		p := specPath.Child("jobTemplate", "spec")
		jobSpec(e, p, &s.JobTemplate.Spec)
		if s.JobTemplate.Spec.Selector != nil {
			e.Invalid(p.Child("selector"), s.JobTemplate.Spec.Selector, "`selector` will be auto-generated")
		}
		if m := s.JobTemplate.Spec.ManualSelector; m != nil && *m {
			e.Add(field.NotSupported(p.Child("manualSelector"), m, []string{"nil", "false"}))
		}
		check.NonNegativePtr(e, specPath.Child("successfulJobsHistoryLimit"), s.SuccessfulJobsHistoryLimit)
		check.NonNegativePtr(e, specPath.Child("failedJobsHistoryLimit"), s.FailedJobsHistoryLimit)
	})
}

// parseSchedule reads the five fields of cron. The library panics on a time zone without fields, which is an error here.
func parseSchedule(s string) (_ cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	return cron.ParseStandard(s)
}

func validateNewCronJob(c *batch.CronJob) field.ErrorList {
	errs := cronJobSpec(c, nil)
	if len(c.Name) > maxCronJobName {
		errs = append(errs, field.Invalid(metaPath.Child("name"), c.Name, "must be no more than 52 characters"))
	}
	return errs
}

// schedule checks the time, and forbids the library's own way to name a time zone, except where an older object has it.
func schedule(e *check.Errors, c *batch.CronJob, allowed bool) {
	if _, err := parseSchedule(c.Spec.Schedule); err != nil {
		e.Invalid(specPath.Child("schedule"), c.Spec.Schedule, err.Error())
	}
	p, s := specPath.Child("schedule"), c.Spec.Schedule
	switch has := strings.Contains(s, "TZ"); {
	case has && !allowed:
		e.Invalid(p, s, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	case has && c.Spec.TimeZone != nil:
		e.Invalid(p, s, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
	}
}

var zonePart = regexp.MustCompile(`^[A-Za-z\.\-_0-9+]{1,14}$`)

func timeZone(e *check.Errors, p *field.Path, name *string) {
	if name == nil {
		return
	}
	if *name == "" {
		e.Invalid(p, name, "timeZone must be nil or non-empty string")
		return
	}
	for part := range strings.SplitSeq(*name, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !zonePart.MatchString(part) {
			e.Invalid(p, name, "unknown time zone "+*name)
			return
		}
	}
	if strings.EqualFold(*name, "Local") {
		e.Invalid(p, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	}
	if _, err := time.LoadLocation(*name); err != nil {
		e.Invalid(p, name, err.Error())
	}
}
