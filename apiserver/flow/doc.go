// Package flow bounds how many requests are under way at once, so that a flood is answered with 429 instead of filling the
// memory. It is one stage of the chain; fair shares between clients (API priority and fairness) will take its place here.
// It imports nothing of proa. Read flow.go.
package flow
