// Package limitranger gives new pods the requests and limits that the LimitRanges of their namespace say, and refuses pods and claims
// that are outside of them. It imports apiserver/admission, client and kinds/core/resources. Read limitranger.go.
package limitranger
