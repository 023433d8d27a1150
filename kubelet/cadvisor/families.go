package cadvisor

// family is one metric.
type family struct {
	name, kind, help string
	spec             bool // it is no reading: it has no time
}

// families are the metrics of groups, in the order in which they are told.
func families() []family {
	out := []family{
		{"container_creation_time_seconds", "gauge", "When the group was made, in seconds since 1970.", true},
		{"container_spec_cpu_period", "gauge", "Period of the CPU quota, in microseconds.", true},
		{"container_spec_cpu_quota", "gauge", "CPU time in a period, in microseconds.", true},
		{"container_spec_cpu_shares", "gauge", "Share in the CPU, 1024 for a core.", true},
		{"container_spec_memory_limit_bytes", "gauge", "Memory that may be used, in bytes; 0: there is no limit.", true},
		{"container_spec_memory_reservation_limit_bytes", "gauge", "Memory that is left to the group as long as there is some, in bytes.", true},
		{"container_spec_memory_swap_limit_bytes", "gauge", "Swap that may be used, in bytes; 0: there is no limit.", true},
		{"container_start_time_seconds", "gauge", "When a container was started, in seconds since 1970.", true},
	}
	for _, f := range [][2]string{
		{"container_file_descriptors", "Files that processes have open."},
		{"container_fs_inodes_free", "Inodes that are free on the file system."},
		{"container_fs_inodes_total", "Inodes of the file system."},
		{"container_fs_io_current", "Operations under way."},
		{"container_fs_limit_bytes", "Size of the file system, in bytes."},
		{"container_fs_usage_bytes", "What a container has written to its layer, or what is used of a file system, in bytes."},
		{"container_health_state", "1: healthy, 0: not, -1: nobody says."},
		{"container_last_seen", "When the group was last seen, in seconds since 1970."},
		{"container_memory_cache", "Page cache, in bytes."},
		{"container_memory_file_dirty_bytes", "Page cache that is not on disk yet, in bytes."},
		{"container_memory_file_writeback_bytes", "Page cache that is on its way to disk, in bytes."},
		{"container_memory_kernel_usage", "Memory of the kernel, in bytes."},
		{"container_memory_mapped_file", "Files in memory that are mapped, in bytes."},
		{"container_memory_max_usage_bytes", "Most memory that was in use at once, in bytes."},
		{"container_memory_rss", "Anonymous memory, in bytes."},
		{"container_memory_swap", "Swap in use, in bytes."},
		{"container_memory_total_active_file_bytes", "Page cache that was used lately, in bytes."},
		{"container_memory_total_inactive_file_bytes", "Page cache that was not used lately, in bytes."},
		{"container_memory_usage_bytes", "Memory in use, with the page cache, in bytes."},
		{"container_memory_working_set_bytes", "Memory that cannot be dropped at once, in bytes."},
		{"container_processes", "Processes."},
		{"container_sockets", "Sockets that processes have open."},
		{"container_threads", "Threads."},
		{"container_threads_max", "Threads that there may be; 0: there is no limit."},
		{"container_ulimits_soft", "Soft limits of the first process; -1: there is no limit."},
	} {
		out = append(out, family{name: f[0], kind: "gauge", help: f[1]})
	}
	for _, f := range [][2]string{
		{"container_blkio_device_usage_total", "Bytes to and from a device, by operation."},
		{"container_cpu_cfs_burst_periods_total", "Periods in which saved CPU time was used."},
		{"container_cpu_cfs_burst_seconds_total", "Saved CPU time that was used, in seconds."},
		{"container_cpu_cfs_periods_total", "Periods of the CPU quota that have passed."},
		{"container_cpu_cfs_throttled_periods_total", "Periods in which the CPU quota was used up."},
		{"container_cpu_cfs_throttled_seconds_total", "Time for which the CPU quota was used up, in seconds."},
		{"container_cpu_system_seconds_total", "CPU time in the kernel, in seconds."},
		{"container_cpu_usage_seconds_total", "CPU time used, in core-seconds."},
		{"container_cpu_user_seconds_total", "CPU time outside the kernel, in seconds."},
		{"container_fs_io_cost_indebt_seconds_total", "Time in debt to the device, in seconds."},
		{"container_fs_io_cost_indelay_seconds_total", "Time of delay for debt to the device, in seconds."},
		{"container_fs_io_cost_usage_seconds_total", "Time that the device has given, in seconds."},
		{"container_fs_io_cost_wait_seconds_total", "Time for which there was waiting for the device, in seconds."},
		{"container_fs_io_time_seconds_total", "Time for which there were operations, in seconds."},
		{"container_fs_io_time_weighted_seconds_total", "The same, times the operations under way, in seconds."},
		{"container_fs_read_seconds_total", "Time of all reads, in seconds."},
		{"container_fs_reads_bytes_total", "Bytes read."},
		{"container_fs_reads_merged_total", "Reads that were made one with others."},
		{"container_fs_reads_total", "Reads."},
		{"container_fs_sector_reads_total", "Sectors read."},
		{"container_fs_sector_writes_total", "Sectors written."},
		{"container_fs_write_seconds_total", "Time of all writes, in seconds."},
		{"container_fs_writes_bytes_total", "Bytes written."},
		{"container_fs_writes_merged_total", "Writes that were made one with others."},
		{"container_fs_writes_total", "Writes."},
		{"container_memory_events_high_total", "How often memory.high was passed."},
		{"container_memory_events_max_total", "How often the limit of memory was about to be passed."},
		{"container_memory_failcnt", "How often the limit of memory was reached."},
		{"container_memory_failures_total", "Page faults, by kind."},
		{"container_memory_pgscan_total", "Pages looked at for reclaim."},
		{"container_memory_pgsteal_total", "Pages reclaimed."},
		{"container_memory_workingset_refault_anon_total", "Anonymous pages that were reclaimed and soon wanted back."},
		{"container_memory_workingset_refault_file_total", "Pages of files that were reclaimed and soon wanted back."},
		{"container_network_receive_bytes_total", "Bytes received."},
		{"container_network_receive_errors_total", "Errors while receiving."},
		{"container_network_receive_packets_dropped_total", "Packets that came and were dropped."},
		{"container_network_receive_packets_total", "Packets received."},
		{"container_network_transmit_bytes_total", "Bytes sent."},
		{"container_network_transmit_errors_total", "Errors while sending."},
		{"container_network_transmit_packets_dropped_total", "Packets that were to be sent and were dropped."},
		{"container_network_transmit_packets_total", "Packets sent."},
		{"container_oom_events_total", "Processes that the kernel has killed for memory."},
	} {
		out = append(out, family{name: f[0], kind: "counter", help: f[1]})
	}
	for _, what := range []string{"cpu", "io", "memory"} {
		name := "container_pressure_" + what
		out = append(out,
			family{name: name + "_stalled_seconds_total", kind: "counter", help: "Time for which all tasks have waited for " + what + ", in seconds."},
			family{name: name + "_waiting_seconds_total", kind: "counter", help: "Time for which some task has waited for " + what + ", in seconds."})
	}
	return out
}
