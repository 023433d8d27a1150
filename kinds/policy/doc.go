// Package policy is the kinds of policy/v1. It imports kinds and kinds/check.
package policy
