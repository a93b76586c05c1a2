# SPDX-License-Identifier: MIT
"""Run a command on a terminal of COLUMNS columns; print what it wrote there.

	terminal.py COLUMNS COMMAND [ARGUMENT...]

Output is as it came, when it came, carriage returns and all; the exit status is the
command's.
"""
import fcntl, os, pty, struct, sys, termios

gate, opened = os.pipe()
pid, terminal = pty.fork()
if pid == 0:
    os.close(opened)
    os.read(gate, 1)            # until the window has its width
    os.execvp(sys.argv[2], sys.argv[2:])
os.close(gate)
fcntl.ioctl(terminal, termios.TIOCSWINSZ,
            struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0))
os.close(opened)
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:             # Linux's way to say that the other end is closed
        break
    if not piece:
        break
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
