package xen

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// TestLayout compares each offset with what a C compiler computes from Debian's Xen headers.
func TestLayout(t *testing.T) {
	if os.Getenv("VMSEAL_XEN_BED") != "" {
		t.Skip("dom0 has no compiler: this test runs outside of it")
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
	var (
		header  domctlHeader
		dom     info
		context vcpuContext
		e       event
		r       ring
		dm      dmOp
		store   storeHeader
	)
	checks := []struct {
		c    string
		want uintptr
	}{
		{"sizeof(struct xen_domctl)", unsafe.Sizeof(header)},
		{"offsetof(struct xen_domctl, interface_version)", unsafe.Offsetof(header.version)},
		{"offsetof(struct xen_domctl, domain)", unsafe.Offsetof(header.domain)},
		{"offsetof(struct xen_domctl, u)", unsafe.Offsetof(header.union)},
		{"XEN_DOMCTL_pausedomain", uintptr(pauseDomain.number)},
		{"XEN_DOMCTL_unpausedomain", uintptr(unpauseDomain.number)},
		{"XEN_DOMCTL_getdomaininfo", uintptr(getInfo.number)},
		{"XEN_DOMCTL_setvcpucontext", uintptr(putContext.number)},
		{"XEN_DOMCTL_getvcpucontext", uintptr(getContext.number)},
		{"XEN_DOMCTL_setdebugging", uintptr(setDebugging.number)},
		{"XEN_DOMCTL_vm_event_op", uintptr(setEvents.number)},
		{"XEN_DOMCTL_setvcpuextstate", uintptr(putXstate.number)},
		{"XEN_DOMCTL_getvcpuextstate", uintptr(getXstate.number)},
		{"XEN_DOMCTL_monitor_op", uintptr(setMonitor.number)},
		{"XEN_DOMCTL_gdbsx_pausevcpu", uintptr(pauseVCPU.number)},
		{"XEN_DOMCTL_gdbsx_unpausevcpu", uintptr(unpauseVCPU.number)},
		{"XEN_DOMCTL_gdbsx_domstatus", uintptr(getBreakpoint.number)},
		{"offsetof(struct xen_domctl_gdbsx_pauseunp_vcpu, vcpu)", 0},
		{"offsetof(struct xen_domctl_gdbsx_domstatus, paused)", 0},
		{"offsetof(struct xen_domctl_gdbsx_domstatus, vcpu_id)", 4},
		{"offsetof(struct xen_domctl_setdebugging, enable)", 0},
		{"offsetof(struct xen_domctl_getdomaininfo, domain)", unsafe.Offsetof(dom.domain)},
		{"offsetof(struct xen_domctl_getdomaininfo, flags)", unsafe.Offsetof(dom.flags)},
		{"offsetof(struct xen_domctl_getdomaininfo, flags) + XEN_DOMINF_shutdownshift / 8", unsafe.Offsetof(dom.reason)},
		{"XEN_DOMINF_shutdownmask", 0xff},
		{"offsetof(struct xen_domctl_getdomaininfo, cpu_time)", unsafe.Offsetof(dom.cpuTime)},
		{"offsetof(struct xen_domctl_getdomaininfo, max_vcpu_id)", unsafe.Offsetof(dom.lastVCPU)},
		{"offsetof(struct xen_domctl_getdomaininfo, handle)", unsafe.Offsetof(dom.handle)},
		{"sizeof(xen_domain_handle_t)", unsafe.Sizeof(dom.handle)},
		{"XEN_DOMINF_dying", flagDying},
		{"XEN_DOMINF_hvm_guest", flagHVM},
		{"XEN_DOMINF_shutdown", flagShutdown},
		{"SHUTDOWN_suspend", shutdownSuspend},
		{"offsetof(struct xen_domctl_vcpucontext, vcpu)", 0},
		{"offsetof(struct xen_domctl_vcpucontext, ctxt)", 8},
		{"sizeof(struct xen_domctl_vcpucontext)", 16},
		{"offsetof(struct xen_domctl_vcpuextstate, vcpu)", 0},
		{"offsetof(struct xen_domctl_vcpuextstate, xfeature_mask)", 8},
		{"offsetof(struct xen_domctl_vcpuextstate, size)", 16},
		{"offsetof(struct xen_domctl_vcpuextstate, buffer)", 24},
		{"sizeof(struct xen_domctl_vcpuextstate)", 32},
		{"sizeof(vcpu_guest_context_t)", unsafe.Sizeof(context)},
		{"offsetof(vcpu_guest_context_t, flags)", unsafe.Offsetof(context.flags)},
		{"VGCF_in_kernel", inKernel},
		{"offsetof(vcpu_guest_context_t, user_regs)", unsafe.Offsetof(context.regs)},
		{"sizeof(struct cpu_user_regs)", unsafe.Sizeof(context.regs)},
		{"offsetof(struct cpu_user_regs, r15)", unsafe.Offsetof(context.regs.r15)},
		{"offsetof(struct cpu_user_regs, r14)", unsafe.Offsetof(context.regs.r14)},
		{"offsetof(struct cpu_user_regs, r13)", unsafe.Offsetof(context.regs.r13)},
		{"offsetof(struct cpu_user_regs, r12)", unsafe.Offsetof(context.regs.r12)},
		{"offsetof(struct cpu_user_regs, rbp)", unsafe.Offsetof(context.regs.rbp)},
		{"offsetof(struct cpu_user_regs, rbx)", unsafe.Offsetof(context.regs.rbx)},
		{"offsetof(struct cpu_user_regs, r11)", unsafe.Offsetof(context.regs.r11)},
		{"offsetof(struct cpu_user_regs, r10)", unsafe.Offsetof(context.regs.r10)},
		{"offsetof(struct cpu_user_regs, r9)", unsafe.Offsetof(context.regs.r9)},
		{"offsetof(struct cpu_user_regs, r8)", unsafe.Offsetof(context.regs.r8)},
		{"offsetof(struct cpu_user_regs, rax)", unsafe.Offsetof(context.regs.rax)},
		{"offsetof(struct cpu_user_regs, rcx)", unsafe.Offsetof(context.regs.rcx)},
		{"offsetof(struct cpu_user_regs, rdx)", unsafe.Offsetof(context.regs.rdx)},
		{"offsetof(struct cpu_user_regs, rsi)", unsafe.Offsetof(context.regs.rsi)},
		{"offsetof(struct cpu_user_regs, rdi)", unsafe.Offsetof(context.regs.rdi)},
		{"offsetof(struct cpu_user_regs, rip)", unsafe.Offsetof(context.regs.rip)},
		{"offsetof(struct cpu_user_regs, cs)", unsafe.Offsetof(context.regs.cs)},
		{"offsetof(struct cpu_user_regs, rflags)", unsafe.Offsetof(context.regs.rflags)},
		{"offsetof(struct cpu_user_regs, rsp)", unsafe.Offsetof(context.regs.rsp)},
		{"offsetof(struct cpu_user_regs, ss)", unsafe.Offsetof(context.regs.ss)},
		{"offsetof(vcpu_guest_context_t, trap_ctxt)", unsafe.Offsetof(context.traps)},
		{"sizeof(((vcpu_guest_context_t *)0)->trap_ctxt)", unsafe.Sizeof(context.traps)},
		{"sizeof(struct trap_info)", unsafe.Sizeof(context.traps[0])},
		{"offsetof(struct trap_info, flags)", 1},
		{"offsetof(struct trap_info, address)", 8},
		{"offsetof(vcpu_guest_context_t, ctrlreg)", unsafe.Offsetof(context.control)},
		{"offsetof(vcpu_guest_context_t, debugreg)", unsafe.Offsetof(context.debug)},
		{"offsetof(vcpu_guest_context_t, gs_base_kernel)", unsafe.Offsetof(context.gsBase)},
		{"offsetof(struct vcpu_info, evtchn_upcall_mask)", maskOffset},
		{"FLAT_KERNEL_CS", flatKernelCS},
		{"FLAT_KERNEL_SS", flatKernelSS},
		{"sizeof(vm_event_request_t)", unsafe.Sizeof(e)},
		{"sizeof(vm_event_response_t)", unsafe.Sizeof(e)},
		{"VM_EVENT_INTERFACE_VERSION", eventVersion},
		{"XEN_DOMCTL_INTERFACE_VERSION", uintptr(versions["4.17"])},
		{"offsetof(vm_event_request_t, version)", unsafe.Offsetof(e.version)},
		{"offsetof(vm_event_request_t, flags)", unsafe.Offsetof(e.flags)},
		{"offsetof(vm_event_request_t, reason)", unsafe.Offsetof(e.reason)},
		{"offsetof(vm_event_request_t, vcpu_id)", unsafe.Offsetof(e.vcpu)},
		{"offsetof(vm_event_request_t, u.debug_exception.pending_dbg)", unsafe.Offsetof(e.pending)},
		{"offsetof(vm_event_request_t, u.debug_exception.insn_length)", unsafe.Offsetof(e.length)},
		{"offsetof(vm_event_request_t, u.debug_exception.type)", unsafe.Offsetof(e.kind)},
		{"offsetof(vm_event_request_t, u.software_breakpoint.insn_length)", unsafe.Offsetof(e.length)},
		{"offsetof(vm_event_request_t, u.software_breakpoint.type)", unsafe.Offsetof(e.kind)},
		{"offsetof(vm_event_request_t, data.regs.x86)", unsafe.Offsetof(e.regs)},
		{"sizeof(struct vm_event_regs_x86)", unsafe.Sizeof(e.regs)},
		{"offsetof(struct vm_event_regs_x86, rax)", unsafe.Offsetof(e.regs.rax)},
		{"offsetof(struct vm_event_regs_x86, rcx)", unsafe.Offsetof(e.regs.rcx)},
		{"offsetof(struct vm_event_regs_x86, rdx)", unsafe.Offsetof(e.regs.rdx)},
		{"offsetof(struct vm_event_regs_x86, rbx)", unsafe.Offsetof(e.regs.rbx)},
		{"offsetof(struct vm_event_regs_x86, rsp)", unsafe.Offsetof(e.regs.rsp)},
		{"offsetof(struct vm_event_regs_x86, rbp)", unsafe.Offsetof(e.regs.rbp)},
		{"offsetof(struct vm_event_regs_x86, rsi)", unsafe.Offsetof(e.regs.rsi)},
		{"offsetof(struct vm_event_regs_x86, rdi)", unsafe.Offsetof(e.regs.rdi)},
		{"offsetof(struct vm_event_regs_x86, r8)", unsafe.Offsetof(e.regs.r8)},
		{"offsetof(struct vm_event_regs_x86, r9)", unsafe.Offsetof(e.regs.r9)},
		{"offsetof(struct vm_event_regs_x86, r10)", unsafe.Offsetof(e.regs.r10)},
		{"offsetof(struct vm_event_regs_x86, r11)", unsafe.Offsetof(e.regs.r11)},
		{"offsetof(struct vm_event_regs_x86, r12)", unsafe.Offsetof(e.regs.r12)},
		{"offsetof(struct vm_event_regs_x86, r13)", unsafe.Offsetof(e.regs.r13)},
		{"offsetof(struct vm_event_regs_x86, r14)", unsafe.Offsetof(e.regs.r14)},
		{"offsetof(struct vm_event_regs_x86, r15)", unsafe.Offsetof(e.regs.r15)},
		{"offsetof(struct vm_event_regs_x86, rflags)", unsafe.Offsetof(e.regs.rflags)},
		{"offsetof(struct vm_event_regs_x86, rip)", unsafe.Offsetof(e.regs.rip)},
		{"offsetof(struct vm_event_regs_x86, cr0)", unsafe.Offsetof(e.regs.cr0)},
		{"offsetof(struct vm_event_regs_x86, cr3)", unsafe.Offsetof(e.regs.cr3)},
		{"offsetof(struct vm_event_regs_x86, cr4)", unsafe.Offsetof(e.regs.cr4)},
		{"offsetof(struct vm_event_regs_x86, cs_sel)", unsafe.Offsetof(e.regs.cs)},
		{"VM_EVENT_FLAG_VCPU_PAUSED", flagVCPUPaused},
		{"VM_EVENT_FLAG_EMULATE", flagEmulate},
		{"VM_EVENT_FLAG_SET_REGISTERS", flagSetRegisters},
		{"offsetof(vm_event_sring_t, req_prod)", unsafe.Offsetof(r.requests)},
		{"offsetof(vm_event_sring_t, req_event)", unsafe.Offsetof(r.wake)},
		{"offsetof(vm_event_sring_t, rsp_prod)", unsafe.Offsetof(r.responses)},
		{"offsetof(vm_event_sring_t, rsp_event)", unsafe.Offsetof(r.wakeXen)},
		{"offsetof(vm_event_sring_t, ring)", unsafe.Offsetof(r.slots)},
		{"__RING_SIZE((vm_event_sring_t *)0, 4096)", slots},
		{"XEN_DOMCTL_MONITOR_OP_ENABLE", monitorEnable},
		{"XEN_DOMCTL_MONITOR_OP_DISABLE", monitorDisable},
		{"XEN_DOMCTL_MONITOR_OP_GET_CAPABILITIES", monitorCapabilities},
		{"offsetof(struct xen_domctl_monitor_op, op)", 0},
		{"offsetof(struct xen_domctl_monitor_op, event)", 4},
		{"offsetof(struct xen_domctl_monitor_op, u)", 8},
		{"offsetof(struct xen_domctl_monitor_op, u.debug_exception.sync)", 8},
		{"XEN_VM_EVENT_ENABLE", eventEnable},
		{"XEN_VM_EVENT_DISABLE", eventDisable},
		{"XEN_DOMCTL_VM_EVENT_OP_MONITOR", eventMonitor},
		{"offsetof(struct xen_domctl_vm_event_op, op)", 0},
		{"offsetof(struct xen_domctl_vm_event_op, mode)", 4},
		{"offsetof(struct xen_domctl_vm_event_op, u.enable.port)", 8},
		{"XEN_DOMCTL_MONITOR_EVENT_DESC_ACCESS", uintptr(traps[0].event)},
		{"VM_EVENT_REASON_DESCRIPTOR_ACCESS", uintptr(traps[0].reason)},
		{"XEN_DOMCTL_MONITOR_EVENT_SOFTWARE_BREAKPOINT", uintptr(traps[1].event)},
		{"VM_EVENT_REASON_SOFTWARE_BREAKPOINT", uintptr(traps[1].reason)},
		{"XEN_DOMCTL_MONITOR_EVENT_DEBUG_EXCEPTION", uintptr(traps[2].event)},
		{"VM_EVENT_REASON_DEBUG_EXCEPTION", uintptr(traps[2].reason)},
		{"XENMEM_decrease_reservation", memoryDecrease},
		{"XENMEM_populate_physmap", memoryPopulate},
		{"sizeof(struct xen_memory_reservation)", 4 * 8},
		{"offsetof(struct xen_memory_reservation, extent_start)", 0},
		{"offsetof(struct xen_memory_reservation, nr_extents)", 8},
		{"offsetof(struct xen_memory_reservation, extent_order)", 16},
		{"offsetof(struct xen_memory_reservation, domid)", 24},
		{"HVMOP_get_param", hvmGetParam},
		{"HVM_PARAM_MONITOR_RING_PFN", paramMonitorRing},
		{"sizeof(struct xen_hvm_param)", 16},
		{"offsetof(struct xen_hvm_param, domid)", 0},
		{"offsetof(struct xen_hvm_param, index)", 4},
		{"offsetof(struct xen_hvm_param, value)", 8},
		{"XEN_DMOP_inject_event", dmOpInject},
		{"sizeof(struct xen_dm_op)", unsafe.Sizeof(dm)},
		{"offsetof(struct xen_dm_op, op)", unsafe.Offsetof(dm.op)},
		{"offsetof(struct xen_dm_op, u.inject_event.vcpuid)", unsafe.Offsetof(dm.vcpu)},
		{"offsetof(struct xen_dm_op, u.inject_event.vector)", unsafe.Offsetof(dm.vector)},
		{"offsetof(struct xen_dm_op, u.inject_event.type)", unsafe.Offsetof(dm.kind)},
		{"offsetof(struct xen_dm_op, u.inject_event.insn_len)", unsafe.Offsetof(dm.length)},
		{"offsetof(struct xen_dm_op, u.inject_event.error_code)", unsafe.Offsetof(dm.errorCode)},
		{"offsetof(struct xen_dm_op, u.inject_event.cr2)", unsafe.Offsetof(dm.pending)},
		{"sizeof(struct xen_dm_op_buf)", 16},
		{"offsetof(struct xen_dm_op_buf, h)", 0},
		{"offsetof(struct xen_dm_op_buf, size)", 8},
		{"XEN_DMOP_EVENT_hw_exc", dmHardware},
		{"XEN_DMOP_EVENT_sw_exc", dmSoftware},
		{"XS_DIRECTORY", storeDirectory},
		{"XS_READ", storeRead},
		{"sizeof(struct xsd_sockmsg)", unsafe.Sizeof(store)},
		{"offsetof(struct xsd_sockmsg, type)", unsafe.Offsetof(store.Kind)},
		{"offsetof(struct xsd_sockmsg, len)", unsafe.Offsetof(store.Length)},
		{"XENSTORE_PAYLOAD_MAX", storePayload},
		{"DOMID_FIRST_RESERVED", firstReserved},
		{"IOCTL_PRIVCMD_HYPERCALL", privcmdHypercall},
		{"IOCTL_PRIVCMD_MMAPBATCH_V2", privcmdMapBatch},
		{"IOCTL_EVTCHN_BIND_INTERDOMAIN", evtchnBind},
		{"IOCTL_EVTCHN_NOTIFY", evtchnNotify},
		{"__HYPERVISOR_memory_op", hypercallMemory},
		{"__HYPERVISOR_xen_version", hypercallVersion},
		{"__HYPERVISOR_hvm_op", hypercallHVM},
		{"__HYPERVISOR_domctl", hypercallDomctl},
		{"__HYPERVISOR_dm_op", hypercallDM},
	}
	var c strings.Builder
	c.WriteString("#define __XEN_TOOLS__ 1\n#include <stdio.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n#include <sys/ioctl.h>\n")
	for _, header := range []string{"xen", "domctl", "vm_event", "memory", "sched", "hvm/hvm_op", "hvm/params", "hvm/dm_op", "io/ring", "io/xs_wire", "privcmd", "evtchn"} {
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
	// Linux's headers include a kernel header whose contents are all in Xen's headers.
	stub := filepath.Join(dir, "xen", "interface", "xen.h")
	if err := errors.Join(os.MkdirAll(filepath.Dir(stub), 0o700), os.WriteFile(stub, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-I", dir, "-o", program, source).CombinedOutput(); err != nil {
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
