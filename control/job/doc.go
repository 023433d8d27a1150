// Package job runs pods to completion: a number of successes, one for each index, or any; with back-off, failure and success policies,
// deadlines and suspension; and removes finished Jobs after their time to live.
//
// Pods are counted exactly once although any step may be cut short: each carries a finalizer; the uid of a pod that has ended is first
// written to status.uncountedTerminatedPods, then its finalizer is removed, and when it is gone the uid becomes a count, in one write
// (KEP-2307). A Job that is to end gets the condition SuccessCriteriaMet or FailureTarget first, and Complete or Failed once its last pod has
// ended and is counted.
//
// It imports control. Read plan.go, then finish.go and track.go; index.go for Indexed Jobs, policy.go for the policies.
package job
