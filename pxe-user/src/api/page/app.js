"use strict";
fetch("api/v1/machines").then((answer) => answer.json()).then((board) => {
  for (const machine of board.machines) {
    const row = document.getElementById("machines").insertRow();
    for (const text of [machine.state, machine.mac, machine.name ?? "", machine.why ?? ""]) {
      row.insertCell().textContent = text;
    }
  }
});
