// Command kubectl is the stock kubectl of k8s.io/kubectl, built as a second binary so that the daemon does not carry it.
package main
