package resource

import (
	"strings"
	"testing"

	resource "k8s.io/api/resource/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// The cases are written as default, min, max, step; "" is none. The capacity is 10.
func TestRanges(t *testing.T) {
	for _, c := range [][5]string{
		{"1", "1", "9", "2", ""},
		{"2", "1", "9", "2", `p.step: Invalid value: "2": value is not a multiple of a given step (2) from (1)`},
		{"1", "1", "8", "2", `p.step: Invalid value: "8": value is not a multiple of a given step (2) from (1)`},
		{"1", "1", "", "0", `p.step: Invalid value: "0": must be greater than zero`},
		{"1", "1", "", "10", `p.step: Invalid value: "10": one step 11 is larger than capacity value: 10`},
		{"500m", "500m", "2", "500m", ""},
		{"1500m", "500m", "", "700m", `p.step: Invalid value: "1500m": value is not a multiple of a given step (700m) from (500m)`},
		{"1500m", "1", "", "1", `p.step: Invalid value: "1500m": value is not a multiple of a given step (1) from (1)`},
		{"1", "1", "", "1u", `p.step: Invalid value: "1u": value cannot be represented as a milli value`},
		{"0", "1", "", "", `p.default: Invalid value: "0": default is less than min: 1`},
		{"5", "1", "4", "", `p.default: Invalid value: "5": default is more than max: 4`},
		{"1", "1", "11", "", `p.max: Invalid value: "11": max is larger than capacity value: 10`},
		{"1", "11", "", "", `p.min: Invalid value: "11": min is larger than capacity value: 10; p.default: Invalid value: "1": default is less than min: 11`},
		{"-1", "-1", "", "1", `p.default: Invalid value: "-1": must be greater than or equal to 0; p.min: Invalid value: "-1": must be greater than or equal to 0`},
		{"1", "1", "", "18446744073709551616", `p.step: Invalid value: "18446744073709551616": one step 18446744073709551617 is larger than capacity value: 10; p.step: Invalid value: "18446744073709551616": must not be larger than 9223372036854775807`},
	} {
		q := func(s string) *quantity {
			if s == "" {
				return nil
			}
			v := apiresource.MustParse(s)
			return &v
		}
		var got []string
		for _, err := range check.Run(func(e *check.Errors) {
			validRange(e, field.NewPath("p"), apiresource.MustParse("10"), *q(c[0]), &resource.CapacityRequestPolicyRange{Min: q(c[1]), Max: q(c[2]), Step: q(c[3])})
		}) {
			got = append(got, err.Error())
		}
		if s := strings.Join(got, "; "); s != c[4] {
			t.Errorf("%v: got %s", c[:4], s)
		}
	}
}
