package flowcontrol

import (
	"time"

	flowcontrol "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// PriorityLevelConfiguration is flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration: how many requests of its schemas run at
// once, and what happens to the others.
var PriorityLevelConfiguration = kinds.Def[flowcontrol.PriorityLevelConfiguration, *flowcontrol.PriorityLevelConfiguration]{
	Path:       "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
	Cluster:    true,
	Generation: true,
	Status:     true,
	Default:    func(l *flowcontrol.PriorityLevelConfiguration) { defaultLevel(&l.Spec) },
	PrepareStatus: func(l, old *flowcontrol.PriorityLevelConfiguration) {
		fields := l.ManagedFields
		l.ObjectMeta = *old.ObjectMeta.DeepCopy()
		l.ManagedFields = fields
	},
	Validate:       validateLevel,
	ValidateStatus: func(l, _ *flowcontrol.PriorityLevelConfiguration) field.ErrorList { return validateLevelStatus(l) },
	Columns: []kinds.Column{
		kinds.Columns("Name")[0],
		{Name: "Type", Type: "string", Description: flowcontrol.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"]},
		{Name: "NominalConcurrencyShares", Type: "string", Description: flowcontrol.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"]},
		{Name: "Queues", Type: "string", Description: flowcontrol.QueuingConfiguration{}.SwaggerDoc()["queues"]},
		{Name: "HandSize", Type: "string", Description: flowcontrol.QueuingConfiguration{}.SwaggerDoc()["handSize"]},
		{Name: "QueueLengthLimit", Type: "string", Description: flowcontrol.QueuingConfiguration{}.SwaggerDoc()["queueLengthLimit"]},
		kinds.Columns("Age")[0],
	},
	Row: func(l *flowcontrol.PriorityLevelConfiguration, now time.Time) []any {
		none := any("<none>")
		shares, queues, hand, length := none, none, none, none
		if p := l.Spec.Limited; p != nil {
			shares = int64(ptr.Deref(p.NominalConcurrencyShares, 0))
			if q := p.LimitResponse.Queuing; q != nil {
				queues, hand, length = int64(q.Queues), int64(q.HandSize), int64(q.QueueLengthLimit)
			}
		}
		return []any{l.Name, string(l.Spec.Type), shares, queues, hand, length, kinds.Age(l.CreationTimestamp, now)}
	},
}

func defaultLevel(s *flowcontrol.PriorityLevelConfigurationSpec) {
	or := func(p **int32, n int32) {
		if *p == nil {
			*p = &n
		}
	}
	if e := s.Exempt; e != nil {
		or(&e.NominalConcurrencyShares, 0)
		or(&e.LendablePercent, 0)
	}
	if l := s.Limited; l != nil {
		or(&l.NominalConcurrencyShares, 30)
		or(&l.LendablePercent, 0)
		if q := l.LimitResponse.Queuing; q != nil {
			defaultQueuing(q)
		}
	}
}

func defaultQueuing(q *flowcontrol.QueuingConfiguration) {
	if q.HandSize == 0 {
		q.HandSize = 8
	}
	if q.Queues == 0 {
		q.Queues = 64
	}
	if q.QueueLengthLimit == 0 {
		q.QueueLengthLimit = 50
	}
}
