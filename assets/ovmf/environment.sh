# shellcheck shell=bash
# Sourced by the steps that know one firmware from another, which $ARCH and
# $VARIANT name: what edk2 calls its processor and its platform, the folder that
# it is installed in, and the built volumes with the names they get there.
case "$ARCH $VARIANT" in
"x86_64 plain")
	processor=X64 platform=OvmfPkg/OvmfPkgX64.dsc
	folder=ovmf volumes="OVMF.fd:OVMF.fd" size=
	;;
"x86_64 sev")
	processor=X64 platform=OvmfPkg/AmdSev/AmdSevX64.dsc
	folder=ovmf volumes="OVMF.fd:AMDSEV.fd" size=
	;;
"x86_64 tdx")
	processor=X64 platform=OvmfPkg/IntelTdx/IntelTdxX64.dsc
	folder=ovmf volumes="OVMF.fd:OVMF.inteltdx.fd" size=
	;;
"aarch64 plain")
	# QEMU's machine has two banks of flash of this size.
	processor=AARCH64 platform=ArmVirtPkg/ArmVirtQemu.dsc
	folder=aavmf volumes="QEMU_EFI.fd:AAVMF_CODE.fd QEMU_VARS.fd:AAVMF_VARS.fd" size=$((64 << 20))
	;;
*)
	echo "no firmware is known for $ARCH with the variant \"$VARIANT\"" >&2
	exit 1
	;;
esac
export processor platform folder volumes size
