package cel

import "github.com/google/cel-go/cel"

// Plain is an environment with all libraries and the variables that opts declare, for expressions that are about neither an object nor a
// request: claims of a token, questions to an authoriser.
func Plain(opts ...cel.EnvOption) (*cel.Env, error) {
	env, err := base[Stored]()
	if err != nil {
		return nil, err
	}
	return env.Extend(opts...)
}
