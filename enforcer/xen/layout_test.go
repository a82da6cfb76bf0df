package xen

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLayout holds each offset to what a C compiler makes of Debian's headers of Xen.
func TestLayout(t *testing.T) {
	if os.Getenv("VMSEAL_XEN_BED") != "" {
		t.Skip("in a dom0, which has no compiler: it is run outside")
	}
	need := func(name, pkg string) string {
		path, err := exec.LookPath(name)
		if _, header := os.Stat(name); err != nil && header != nil {
			if os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
				t.Fatalf("%s is missing (package %s)", name, pkg)
			}
			t.Skipf("%s is missing (package %s)", name, pkg)
		}
		return path
	}
	need("gcc", "gcc")
	need("/usr/include/xen/domctl.h", "libxen-dev")
	checks := []struct {
		c    string
		want int
	}{
		{"sizeof(struct xen_domctl)", domctlSize},
		{"offsetof(struct xen_domctl, interface_version)", domctlVersion},
		{"offsetof(struct xen_domctl, domain)", domctlDomain},
		{"offsetof(struct xen_domctl, u)", domctlUnion},
		{"XEN_DOMCTL_pausedomain", domctlPause},
		{"XEN_DOMCTL_unpausedomain", domctlUnpause},
		{"XEN_DOMCTL_getdomaininfo", domctlInfo},
		{"XEN_DOMCTL_setvcpucontext", domctlSetContext},
		{"XEN_DOMCTL_getvcpucontext", domctlGetContext},
		{"XEN_DOMCTL_setdebugging", domctlSetDebugging},
		{"XEN_DOMCTL_vm_event_op", domctlVMEvent},
		{"XEN_DOMCTL_setvcpuextstate", domctlSetXstate},
		{"XEN_DOMCTL_getvcpuextstate", domctlGetXstate},
		{"XEN_DOMCTL_monitor_op", domctlMonitor},
		{"XEN_DOMCTL_gdbsx_pausevcpu", domctlPauseVCPU},
		{"XEN_DOMCTL_gdbsx_unpausevcpu", domctlUnpauseVCPU},
		{"offsetof(struct xen_domctl_gdbsx_pauseunp_vcpu, vcpu)", 0},
		{"XEN_DOMCTL_gdbsx_domstatus", domctlDebuggerStatus},
		{"offsetof(struct xen_domctl_getdomaininfo, flags)", infoFlags},
		{"offsetof(struct xen_domctl_getdomaininfo, cpu_time)", infoCPUTime},
		{"offsetof(struct xen_domctl_getdomaininfo, max_vcpu_id)", infoVCPU},
		{"offsetof(struct xen_domctl_getdomaininfo, handle)", infoHandle},
		{"XEN_DOMINF_dying", flagDying},
		{"XEN_DOMINF_hvm_guest", flagHVM},
		{"XEN_DOMINF_shutdown", flagShutdown},
		{"XEN_DOMINF_shutdownshift", shutdownBits},
		{"SHUTDOWN_suspend", shutdownSuspend},
		{"offsetof(struct xen_domctl_vcpucontext, ctxt)", 8},
		{"offsetof(struct xen_domctl_vcpuextstate, xfeature_mask)", 8},
		{"offsetof(struct xen_domctl_vcpuextstate, size)", 16},
		{"offsetof(struct xen_domctl_vcpuextstate, buffer)", 24},
		{"offsetof(struct xen_domctl_gdbsx_domstatus, paused)", statusPaused},
		{"offsetof(struct xen_domctl_gdbsx_domstatus, vcpu_id)", statusVCPU},
		{"offsetof(struct xen_domctl_setdebugging, enable)", 0},
		{"sizeof(vcpu_guest_context_t)", contextSize},
		{"offsetof(vcpu_guest_context_t, flags)", contextFlags},
		{"VGCF_in_kernel", inKernel},
		{"offsetof(vcpu_guest_context_t, user_regs)", contextRegs},
		{"offsetof(vcpu_guest_context_t, user_regs.r15)", contextRegs},
		{"offsetof(vcpu_guest_context_t, user_regs.r11)", regR11},
		{"offsetof(vcpu_guest_context_t, user_regs.rax)", regRAX},
		{"offsetof(vcpu_guest_context_t, user_regs.rcx)", regRCX},
		{"offsetof(vcpu_guest_context_t, user_regs.rdi)", contextRegs + 8*14},
		{"offsetof(vcpu_guest_context_t, user_regs.rip)", regRIP},
		{"offsetof(vcpu_guest_context_t, user_regs.cs)", regCS},
		{"offsetof(vcpu_guest_context_t, user_regs.rflags)", regRFLAGS},
		{"offsetof(vcpu_guest_context_t, user_regs.rsp)", regRSP},
		{"offsetof(vcpu_guest_context_t, user_regs.ss)", regSS},
		{"offsetof(vcpu_guest_context_t, trap_ctxt)", contextTraps},
		{"sizeof(struct trap_info)", 16},
		{"offsetof(struct trap_info, flags)", 1},
		{"offsetof(struct trap_info, address)", 8},
		{"offsetof(vcpu_guest_context_t, ctrlreg)", contextControl},
		{"offsetof(vcpu_guest_context_t, debugreg)", contextDebug},
		{"offsetof(vcpu_guest_context_t, gs_base_kernel)", contextGSBase},
		{"offsetof(struct vcpu_info, evtchn_upcall_mask)", maskOffset},
		{"FLAT_KERNEL_CS", flatKernelCS},
		{"FLAT_KERNEL_SS", flatKernelSS},
		{"sizeof(vm_event_request_t)", eventSize},
		{"VM_EVENT_INTERFACE_VERSION", eventVersion},
		{"XEN_DOMCTL_INTERFACE_VERSION", 0x15},
		{"offsetof(vm_event_request_t, flags)", 4},
		{"offsetof(vm_event_request_t, reason)", 8},
		{"offsetof(vm_event_request_t, vcpu_id)", 12},
		{"offsetof(vm_event_request_t, u)", eventUnion},
		{"offsetof(vm_event_request_t, u.debug_exception.pending_dbg)", eventPend},
		{"offsetof(vm_event_request_t, u.debug_exception.insn_length)", eventLength},
		{"offsetof(vm_event_request_t, u.debug_exception.type)", eventType},
		{"offsetof(vm_event_request_t, data.regs.x86.rax)", eventRAX},
		{"offsetof(vm_event_request_t, data.regs.x86.rsp)", eventRSP},
		{"offsetof(vm_event_request_t, data.regs.x86.rdi)", eventRegs + 8*7},
		{"offsetof(vm_event_request_t, data.regs.x86.r15)", eventRegs + 8*15},
		{"offsetof(vm_event_request_t, data.regs.x86.rflags)", eventRFLAGS},
		{"offsetof(vm_event_request_t, data.regs.x86.rip)", eventRIP},
		{"offsetof(vm_event_request_t, data.regs.x86.cr3)", eventCR3},
		{"offsetof(vm_event_request_t, data.regs.x86.cr4)", eventCR4},
		{"offsetof(vm_event_request_t, data.regs.x86.cs_sel)", eventCS},
		{"VM_EVENT_FLAG_VCPU_PAUSED", flagVCPUPaused},
		{"VM_EVENT_FLAG_EMULATE", flagEmulate},
		{"VM_EVENT_FLAG_SET_REGISTERS", flagSetRegisters},
		{"offsetof(vm_event_sring_t, req_prod)", ringRequests},
		{"offsetof(vm_event_sring_t, req_event)", ringWake},
		{"offsetof(vm_event_sring_t, rsp_prod)", ringResponses},
		{"offsetof(vm_event_sring_t, rsp_event)", ringWakeXen},
		{"offsetof(vm_event_sring_t, ring)", ringSlots},
		{"__RING_SIZE((vm_event_sring_t *)0, 4096)", ringLen},
		{"XEN_DOMCTL_MONITOR_OP_ENABLE", monitorEnable},
		{"XEN_DOMCTL_MONITOR_OP_DISABLE", monitorDisable},
		{"XEN_DOMCTL_MONITOR_OP_GET_CAPABILITIES", monitorCapabilities},
		{"offsetof(struct xen_domctl_monitor_op, event)", 4},
		{"offsetof(struct xen_domctl_monitor_op, u)", 8},
		{"XEN_VM_EVENT_ENABLE", eventEnable},
		{"XEN_VM_EVENT_DISABLE", eventDisable},
		{"XEN_DOMCTL_VM_EVENT_OP_MONITOR", eventMonitor},
		{"offsetof(struct xen_domctl_vm_event_op, u.enable.port)", 8},
		{"XEN_DOMCTL_MONITOR_EVENT_DESC_ACCESS", int(traps[0].event)},
		{"VM_EVENT_REASON_DESCRIPTOR_ACCESS", int(traps[0].reason)},
		{"XEN_DOMCTL_MONITOR_EVENT_SOFTWARE_BREAKPOINT", int(traps[1].event)},
		{"VM_EVENT_REASON_SOFTWARE_BREAKPOINT", int(traps[1].reason)},
		{"XEN_DOMCTL_MONITOR_EVENT_DEBUG_EXCEPTION", int(traps[2].event)},
		{"VM_EVENT_REASON_DEBUG_EXCEPTION", int(traps[2].reason)},
		{"XENMEM_decrease_reservation", memoryDecrease},
		{"XENMEM_populate_physmap", memoryPopulate},
		{"offsetof(struct xen_memory_reservation, nr_extents)", 8},
		{"offsetof(struct xen_memory_reservation, domid)", 24},
		{"HVMOP_get_param", hvmGetParam},
		{"HVM_PARAM_MONITOR_RING_PFN", paramMonitorRing},
		{"offsetof(struct xen_hvm_param, index)", 4},
		{"offsetof(struct xen_hvm_param, value)", 8},
		{"XEN_DMOP_inject_event", dmOpInject},
		{"sizeof(struct xen_dm_op)", dmOpSize},
		{"offsetof(struct xen_dm_op, u.inject_event.vcpuid)", 8},
		{"offsetof(struct xen_dm_op, u.inject_event.vector)", 12},
		{"offsetof(struct xen_dm_op, u.inject_event.type)", 13},
		{"offsetof(struct xen_dm_op, u.inject_event.insn_len)", 14},
		{"offsetof(struct xen_dm_op, u.inject_event.error_code)", 16},
		{"offsetof(struct xen_dm_op, u.inject_event.cr2)", 24},
		{"XEN_DMOP_EVENT_sw_exc", dmSoftware},
		{"XS_DIRECTORY", storeDirectory},
		{"XS_READ", storeRead},
		{"XS_ERROR", storeError},
		{"sizeof(struct xsd_sockmsg)", storeHeader},
		{"offsetof(struct xsd_sockmsg, len)", 12},
		{"XENSTORE_PAYLOAD_MAX", storePayload},
		{"DOMID_FIRST_RESERVED", firstReserved},
		{"__HYPERVISOR_memory_op", hypercallMemory},
		{"__HYPERVISOR_xen_version", hypercallVersion},
		{"__HYPERVISOR_hvm_op", hypercallHVM},
		{"__HYPERVISOR_domctl", hypercallDomctl},
		{"__HYPERVISOR_dm_op", hypercallDM},
	}
	var c strings.Builder
	c.WriteString("#define __XEN_TOOLS__ 1\n#include <stdio.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n")
	for _, header := range []string{"xen", "domctl", "vm_event", "memory", "sched", "hvm/hvm_op", "hvm/params", "hvm/dm_op", "io/ring", "io/xs_wire"} {
		fmt.Fprintf(&c, "#include <xen/%s.h>\n", header)
	}
	c.WriteString("int main(void) {\n")
	for _, check := range checks {
		fmt.Fprintf(&c, "printf(\"%%lld\\n\", (long long)(%s));\n", check.c)
	}
	c.WriteString("return 0; }\n")
	dir := t.TempDir()
	source, program := filepath.Join(dir, "layout.c"), filepath.Join(dir, "layout")
	if err := os.WriteFile(source, []byte(c.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(out))
	if len(got) != len(checks) {
		t.Fatalf("%d values for %d checks", len(got), len(checks))
	}
	for i, check := range checks {
		if got[i] != fmt.Sprint(check.want) {
			t.Errorf("%s is %s, not %d", check.c, got[i], check.want)
		}
	}
}
