/* SPDX-License-Identifier: ISC */
/* `vm-console attach PATH`: the terminal's end of a viewer's connection. */
#ifndef VM_CONSOLE_ATTACH_H
#define VM_CONSOLE_ATTACH_H

/* argv[0] is "attach". Returns the program's exit status. */
int attach_main(int argc, char **argv);

#endif
