package flowcontrol

import (
	"time"

	flowcontrol "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
)

// FlowSchema is flowcontrol.apiserver.k8s.io/v1 FlowSchema: which requests belong to which priority level, and which of them are one
// flow.
var FlowSchema = kinds.Def[flowcontrol.FlowSchema, *flowcontrol.FlowSchema]{
	Path:       "flowcontrol.apiserver.k8s.io/v1/flowschemas",
	Cluster:    true,
	Generation: true,
	Status:     true,
	Default:    func(s *flowcontrol.FlowSchema) { defaultSchema(&s.Spec) },
	PrepareStatus: func(s, old *flowcontrol.FlowSchema) {
		fields := s.ManagedFields
		s.ObjectMeta = *old.ObjectMeta.DeepCopy()
		s.ManagedFields = fields
	},
	Validate:       validateSchema,
	ValidateStatus: func(s, _ *flowcontrol.FlowSchema) field.ErrorList { return validateSchemaStatus(s) },
	Columns: []kinds.Column{
		kinds.Columns("Name")[0],
		{Name: "PriorityLevel", Type: "string", Description: flowcontrol.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"]},
		{Name: "MatchingPrecedence", Type: "string", Description: flowcontrol.FlowSchemaSpec{}.SwaggerDoc()["matchingPrecedence"]},
		{Name: "DistinguisherMethod", Type: "string", Description: flowcontrol.FlowSchemaSpec{}.SwaggerDoc()["distinguisherMethod"]},
		kinds.Columns("Age")[0],
		{Name: "MissingPL", Type: "string", Description: "references a broken or non-existent PriorityLevelConfiguration"},
	},
	Rank: func(s *flowcontrol.FlowSchema) int64 { return int64(s.Spec.MatchingPrecedence) },
	Row: func(s *flowcontrol.FlowSchema, now time.Time) []any {
		method, missing := "<none>", "?"
		if s.Spec.DistinguisherMethod != nil {
			method = string(s.Spec.DistinguisherMethod.Type)
		}
		for _, c := range s.Status.Conditions {
			if c.Type == flowcontrol.FlowSchemaConditionDangling {
				missing = string(c.Status)
				break
			}
		}
		return []any{s.Name, s.Spec.PriorityLevelConfiguration.Name, int64(s.Spec.MatchingPrecedence), method, kinds.Age(s.CreationTimestamp, now), missing}
	},
}

// defaultPrecedence is that of a schema that names none.
const defaultPrecedence = 1000

func defaultSchema(s *flowcontrol.FlowSchemaSpec) {
	if s.MatchingPrecedence == 0 {
		s.MatchingPrecedence = defaultPrecedence
	}
}
