// Package device compiles the expressions by which a claim or a class selects devices: what is declared of a device, and what an
// expression may cost at most.
//
//	device.Compile(`device.driver == "gpu.example.com" && device.attributes["gpu.example.com"].memory > 1`, cel.New)
//
// The environment is made when the first expression needs it. It imports kinds/cel.
package device
