// SPDX-License-Identifier: Apache-2.0
/** The version of this server, as `--version`, `/version` and the change log state it. */
export const VERSION = "0.1.0";
