// Package cronjob makes a Job of a template at each time that a schedule names. It imports control. Read schedule.go for the format,
// then plan.go.
//
// A time that was missed, for the controller was away or a run was forbidden, is made up for by at most one Job: that of the last time
// missed, if it is not older than startingDeadlineSeconds. Names of Jobs carry their time, so that one time makes one Job.
package cronjob
