package enforce

import "strings"

// expectDebugger has gdb stop a program in the guest at a breakpoint and at a hardware watchpoint. KVM gives the registers of the
// second to the enforcer, and it rests.
func (v *vm) expectDebugger() {
	v.t.Helper()
	const script = `set pagination off
set breakpoint pending on
break write
run
watch -location *(long *) $sp
continue
info watchpoints
kill
`
	v.expect(0, "cat >/tmp/script <<'END'\n"+script+"END")
	out := v.expect(0, "gdb -nx -batch -x /tmp/script --args /opt/t/program/good said by the program 2>&1")
	wanted := []string{"\nBreakpoint 1, ", "\nHardware watchpoint 2: ", "\nOld value = ", "already hit 1 time"}
	if accelerator == "kvm" {
		v.t.Logf("a watchpoint inside the guest has fired: %v", strings.Contains(out, wanted[2]))
		wanted = wanted[:2]
	}
	for _, want := range wanted {
		if !strings.Contains(out, want) {
			v.t.Errorf("gdb does not say %q:\n%s", want, out)
		}
	}
}
