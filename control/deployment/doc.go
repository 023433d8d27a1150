// Package deployment moves Deployments from one pod template to the next: one ReplicaSet for each template, named after its hash and
// kept for rolling back, of which the newest is grown while the others shrink. Revisions, annotations, conditions, reasons and messages
// are Kubernetes' own; kubectl rollout reads them.
//
// The plan scales up and down in one pass, and makes one write of everything that changes on one ReplicaSet. The annotation
// deployment.kubernetes.io/revision goes along with the status; where the API server keeps metadata out of status writes, it follows in a
// patch. It imports control. Read plan.go, then rolling.go.
package deployment
