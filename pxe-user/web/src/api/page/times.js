// The server's clock, and times as text.

/** Milliseconds by which the server's clock is ahead of the viewer's, since durations must not depend on the viewer's clock. */
let skew = 0;
export const now = () => Date.now() + skew;
/** A time of the server's clock on the viewer's clock. */
export const ownTime = (at) => at - skew;

/** Takes the time from a response's `Date`. Its resolution is one second, so a difference of up to two seconds is ignored. */
export function takeClock(date) {
  if (!Number.isNaN(date)) skew = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
}

/** A duration as text. Long durations have a coarse unit, so that they change rarely. */
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}
const two = (n) => String(n).padStart(2, "0");
export const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
export const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** A day and a time, with the year if it is not the present one. */
export const moment = (date, present) => `${date.getDate()} ${MONTHS[date.getMonth()]} ${
  date.getFullYear() === present.getFullYear() ? "" : `${date.getFullYear()} `}${clock(date)}`;
