// Package accounttoken keeps the secrets that hold tokens of service accounts: it fills in those that somebody made, deletes those whose
// account is gone, and takes those away from accounts that nobody has used for a year. It imports control, client, object and kinds; what
// signs tokens comes in as a function. Read controller.go, then stale.go.
package accounttoken
