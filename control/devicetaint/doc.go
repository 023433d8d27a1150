// Package devicetaint deletes pods whose devices have a taint with the effect NoExecute that their claims do not tolerate, or not for that long
// (KEP-5055). Taints stand in ResourceSlices and in DeviceTaintRules, whose status tells how far it is; what is tolerated stands in the allocation
// of each device.
//
// A pod without claims costs nothing here. It imports control. Read controller.go, then rule.go.
package devicetaint
