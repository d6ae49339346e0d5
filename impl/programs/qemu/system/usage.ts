/** What `--help` prints. */
export const SYSTEM_USAGE = `usage: NAME [options] [disk_image]

A machine without a processor: block devices, jobs and monitors, as tests and tools use them.
'disk_image' is a disk of the machine, as with -hda.

Standard options:
-h or -help     display this help and exit
-version        display version information and exit
-machine [type=]name[,accel=qtest]
                selects emulated machine ('-machine help' for list)
-M              as -machine
-accel [accel=]qtest
                no processor runs ('-accel help' for list)
-name string[,process=string][,debug-threads=on|off]
                set the name of the machine
-device driver[,prop[=value][,...]]
                add device (based on driver); '-device help' prints all, '-device driver,help' their properties
-object TYPENAME[,PROP1=VALUE1,...]
                create a new object of type TYPENAME
-m, -smp, -cpu, -vga, -boot, -rtc, -uuid, -net, -nic, -no-reboot, -no-shutdown, -no-user-config
                accepted; a machine without a processor does not show them

Block device options:
-hda/-hdb file  use 'file' as hard disk 0/1 image
-hdc/-hdd file  use 'file' as hard disk 2/3 image
-cdrom file     use 'file' as CD-ROM image
-fda/-fdb file  use 'file' as floppy disk 0/1 image
-blockdev [driver=]driver[,node-name=N][,discard=ignore|unmap]
          [,cache.direct=on|off][,cache.no-flush=on|off]
          [,read-only=on|off][,auto-read-only=on|off]
          [,force-share=on|off][,detect-zeroes=on|off|unmap]
          [,driver specific parameters...]
                configure a block backend
-drive [file=file][,if=type][,bus=n][,unit=m][,media=d][,index=i]
       [,cache=writethrough|writeback|none|directsync|unsafe][,format=f]
       [,rerror=ignore|stop|report]
       [,werror=ignore|stop|report|enospc][,id=name]
       [,aio=threads|native|io_uring]
       [,readonly=on|off][,discard=ignore|unmap][,detect-zeroes=on|off|unmap]
       [[,bps=b]|[[,bps_rd=r][,bps_wr=w]]]
       [[,iops=i]|[[,iops_rd=r][,iops_wr=w]]]
       [[,bps_max=bm]|[[,bps_rd_max=rm][,bps_wr_max=wm]]]
       [[,iops_max=im]|[[,iops_rd_max=irm][,iops_wr_max=iwm]]]
       [[,iops_size=is]]
       [[,group=g]]
                use 'file' as a drive image
-loadvm [tag|id] start right away with a saved state
-incoming unix:PATH, -incoming tcp:HOST:PORT, -incoming exec:CMD, -incoming fd:N, -incoming defer
                wait for the machine of another program, which gives its images up
-add-fd fd=fd,set=set[,opaque=opaque]
                add the inherited descriptor 'fd' to a set, which '/dev/fdset/SET' names
-snapshot       write to temporary files instead of disk image files
-global driver.property=value
                set a property of all devices of a model
-set group.id.arg=value
                set <arg> parameter for item <id> of type <group>

Character device options:
-chardev null,id=id
-chardev socket,id=id[,host=host],port=port[,server=on|off][,wait=on|off] (tcp)
-chardev socket,id=id,path=path[,server=on|off][,wait=on|off] (unix)
-chardev socket,id=id,fd=N
-chardev stdio,id=id

Debug/Expert options:
-display none, -nographic
                there is no display in any case
-monitor dev    redirect the monitor to char device 'dev'
-qmp dev        like -monitor but opens in 'control' mode
-qmp-pretty dev like -qmp but uses pretty JSON formatting
-mon [chardev=]name[,mode=readline|control][,pretty[=on|off]]
-serial none, -parallel none
-qtest dev      listens for commands of tests there (clock_step, clock_set)
-qtest-log file writes their conversation to 'file'
-S              freeze at startup (use 'c' to start execution)
-nodefaults     don't create default devices
-pidfile file   write PID to 'file'
-daemonize      go on in the background after initializing
-msg [timestamp[=on|off]]
                control error message format
-trace [[enable=]<pattern>][,events=<file>][,file=<file>]
                accepted; there are no trace events
`
